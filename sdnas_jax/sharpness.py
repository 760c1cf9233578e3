"""How sharp a supernet's validation loss is, and what discretising costs.

`measure` looks at one state of a search: the largest eigenvalue of the
Hessian, how far the loss rises in a ball, and the discretisation gap (SD-DARTS,
Zhu et al. 2023, section 3.3 and Figure 2; R-DARTS, Zela et al. 2020). `columns`
and `density` give its whole spectrum, `plane` the loss around it. Each takes
the search's `setup` and the whole run's `key`, which the search's randomness
comes from; `valid` is the half that trains the alphas.
"""

from collections.abc import Callable
import dataclasses
from functools import partial
from typing import Any
from typing import NamedTuple

import jax
from jax import flatten_util
from jax import lax
import jax.numpy as jnp

from sdnas_jax import search
from sdnas_jax import totals
from sdnas_jax.analysis import ball
from sdnas_jax.analysis import hessian
from sdnas_jax.analysis import landscape
from sdnas_jax.data import split

Tree = Any


@partial(
  jax.tree_util.register_dataclass,
  data_fields=['radius', 'decay'],
  meta_fields=['of', 'protocol', 'batches', 'products', 'climbs'],
)
@dataclasses.dataclass(frozen=True)
class Probe:
  """Which loss is looked at, and how closely.

  The loss is the cross-entropy of the valid half alone, without a penalty,
  normalised by each batch's own statistics.
  """

  of: str  # 'alphas' or 'weights': what the loss is a function of
  protocol: str  # 'probe': batches of a fixed set, unvaried; or 'robustdarts'
  batches: int  # of the probe: the first of the valid half
  products: int  # Hessian-vector products of the eigenvalue
  radius: float  # of the ball
  climbs: int  # gradients that look for the highest loss in it
  decay: float  # added to the eigenvalue: R-DARTS's weight decay


NAMES = 'dominant_eigenvalue', 'sharpness', 'gap'


class Measures(NamedTuple):
  """Of one state."""

  dominant_eigenvalue: jax.Array
  sharpness: jax.Array  # the loss's rise in the ball
  soft: jax.Array  # the supernet's accuracy on the valid half
  hard: jax.Array  # with the one-hot mix of its genotype

  @property
  def gap(self) -> jax.Array:
    """What discretising takes from the accuracy, without retraining."""
    return self.soft - self.hard


def measure(
  state: search.State,
  key: jax.Array,
  valid: split.Split,
  hard: Tree,
  setup: search.Setup,
  probe: Probe,
) -> Measures:
  """Measures a state after an epoch; `hard` is its genotype's one-hot mix."""
  batches = chosen(state, key, valid, setup, probe)
  loss, x = losses(state, setup, probe.of)

  def climb(batch):
    return ball.rise(partial(loss, batch), x, probe.radius, probe.climbs)

  start = jax.random.fold_in(key, state.epoch)
  times = partial(product, loss, batches, x)
  eigenvalue = hessian.dominant(times, x.size, start, probe.products)
  return Measures(
    dominant_eigenvalue=eigenvalue + probe.decay,
    sharpness=jnp.mean(lax.map(climb, batches), axis=0),
    soft=accuracy(state, mixing(state, setup), valid, setup),
    hard=accuracy(state, hard, valid, setup),
  )


def columns(
  state: search.State,
  key: jax.Array,
  valid: split.Split,
  vectors: jax.Array,
  setup: search.Setup,
  probe: Probe,
) -> jax.Array:
  """The same Hessian times each of [k, n] vectors, from one linearisation.

  Those of the identity give its columns. The probe's `decay` is left out.
  """
  batches = chosen(state, key, valid, setup, probe)
  loss, x = losses(state, setup, probe.of)

  def each(batch):
    times, _ = hessian.linear(partial(loss, batch), x)
    return lax.map(times, vectors)

  return jnp.mean(lax.map(each, batches), axis=0)


def density(
  state: search.State,
  key: jax.Array,
  valid: split.Split,
  start: jax.Array,
  setup: search.Setup,
  probe: Probe,
) -> tuple[jax.Array, jax.Array]:
  """An estimate of the same spectrum from one random start, a key.

  Returns:
    Eigenvalues [products], and the share of all that each stands for.
  """
  batches = chosen(state, key, valid, setup, probe)
  loss, x = losses(state, setup, probe.of)
  times = partial(product, loss, batches, x)
  return hessian.density(times, x.size, start, probe.products, samples=1)


def product(
  loss: Callable[[split.Batch, jax.Array], jax.Array],
  batches: split.Batch,
  x: jax.Array,
  v: jax.Array,
) -> jax.Array:
  """The Hessian of the batches' mean loss at x [n], times v [n]."""
  each = lax.map(lambda b: hessian.product(partial(loss, b), x, v), batches)
  return jnp.mean(each, axis=0)


def plane(
  state: search.State,
  key: jax.Array,
  valid: split.Split,
  one: landscape.Axis,
  two: landscape.Axis,
  setup: search.Setup,
  probe: Probe,
) -> dict[str, jax.Array]:
  """The loss and the accuracy around a state, over two axes.

  Args:
    one: a direction, like the group that the probe is of, and [n] steps.
    two: another, and [m] steps.

  Returns:
    `loss` and `accuracy`, each [n, m], of the probe's batches.
  """
  batches = chosen(state, key, valid, setup, probe)
  see = predictor(state, setup, probe.of)

  def look(x):
    def each(batch):
      logits = see(batch, x)
      right = (logits.argmax(axis=-1) == batch.label) & batch.present
      loss = totals.cross_entropy(logits, batch)
      return loss, jnp.sum(right) / jnp.sum(batch.present)

    loss, right = lax.map(each, batches)
    return {'loss': jnp.mean(loss), 'accuracy': jnp.mean(right)}

  return landscape.along(look, state.params[probe.of], one, two)


def chosen(
  state: search.State,
  key: jax.Array,
  valid: split.Split,
  setup: search.Setup,
  probe: Probe,
) -> split.Batch:
  """The batches to look at, on a first axis."""
  if probe.protocol == 'robustdarts':
    last = search.alpha_batch(key, state.step - 1, valid, setup)
    return jax.tree.map(lambda x: x[None], last)
  examples = len(valid.labels)
  order = split.blocks(jnp.arange(examples), examples, setup.batch_size)
  take = partial(split.take, valid, mean=setup.mean, std=setup.std)
  return lax.map(take, order[: probe.batches])


def losses(
  state: search.State, setup: search.Setup, of: str
) -> tuple[Callable[[split.Batch, jax.Array], jax.Array], jax.Array]:
  """A batch's loss as a function of a group's flat vector, and that vector."""
  x, unravel = flatten_util.ravel_pytree(state.params[of])
  see = predictor(state, setup, of)
  return lambda batch, x: totals.cross_entropy(see(batch, unravel(x)), batch), x


def predictor(
  state: search.State, setup: search.Setup, of: str
) -> Callable[[split.Batch, Tree], jax.Array]:
  """A batch's logits as a function of a group of the parameters."""

  def see(batch, x):
    now = state._replace(params={**state.params, of: x})
    w, mix = now.params['weights'], mixing(now, setup)
    return search.forward(setup.net, w, state.stats, batch, mix)[0]

  return see


def mixing(state: search.State, setup: search.Setup) -> Tree:
  """The mix that the alphas stand for."""
  return setup.method.relax(state.arch, search.clock(state, setup))


def accuracy(
  state: search.State, mix: Tree, valid: split.Split, setup: search.Setup
) -> jax.Array:
  """Of the valid half, each batch normalised by its own statistics."""
  examples = len(valid.labels)
  order = split.blocks(jnp.arange(examples), examples, setup.batch_size)
  w = state.params['weights']

  def right(index):
    batch = split.take(valid, index, setup.mean, setup.std)
    logits, _ = search.forward(setup.net, w, state.stats, batch, mix)
    return jnp.sum((logits.argmax(axis=-1) == batch.label) & batch.present)

  return jnp.sum(lax.map(right, order)) / examples

"""How sharp a supernet's validation loss is, and what discretising costs.

`measure` looks at one state of a search: the largest eigenvalue of the
Hessian, how far the loss rises in a ball, and the discretisation gap (SD-DARTS,
Zhu et al. 2023, section 3.3 and Figure 2; R-DARTS, Zela et al. 2020). `columns`
and `density` give its whole spectrum, `plane` the loss around it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from typing import NamedTuple

from flax import struct
import jax
from jax import flatten_util
from jax import lax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.analysis import ball
from sdnas_jax.analysis import hessian
from sdnas_jax.analysis import landscape
from sdnas_jax.data import split
from sdnas_jax.steps import search
from sdnas_jax.steps import totals

Tree = Any
Scores = tuple[jax.Array, jax.Array]  # the loss, and how many are right
_static = partial(struct.field, pytree_node=False)
# Else a GPU multiplies numbers of 10 bits, a TPU of 7, and what second
# differences are made of is lost: an eigenvalue, a loss's rise, a plane.
exact = jax.default_matmul_precision('highest')


@struct.dataclass
class Probe:
  """Which loss is looked at, and how closely.

  The loss is the cross-entropy of the valid half alone, without a penalty,
  normalised by each batch's own statistics.
  """

  of: str = _static()  # 'alphas' or 'weights': what the loss is a function of
  # 'probe': batches of a fixed set, unvaried; or 'robustdarts'
  protocol: str = _static()
  batches: int = _static()  # of the probe: the first of the valid half
  products: int = _static()  # Hessian-vector products of the eigenvalue
  radius: float  # of the ball
  climbs: int = _static()  # gradients that look for the highest loss in it
  decay: float  # added to the eigenvalue: R-DARTS's weight decay


@struct.dataclass
class View:
  """A state of a search, and how it is looked at."""

  state: search.State
  seed: jax.Array  # uint32, of the whole run: where its randomness comes from
  valid: split.Split  # the half that trains the alphas
  setup: search.Setup
  probe: Probe | None  # None: for the accuracy alone

  @property
  def at(self) -> Tree:
    """The group of the parameters that the loss is a function of."""
    return self.state.params[self.probe.of]

  @property
  def among(self) -> np.ndarray | None:
    """Which of `at`'s numbers are searched, flat; None: all of them.

    Alphas of operations that an edge of the space does not have are none.
    """
    space = self.setup.net.space
    if self.probe.of != 'alphas' or not space.own:
      return None
    tables = {
      name: space.alive(name) if name in space.kinds else np.ones((), bool)
      for name in sorted(self.at)
    }
    shapes = {name: np.shape(table) for name, table in self.at.items()}
    flat = [np.broadcast_to(m, shapes[k]).ravel() for k, m in tables.items()]
    return np.concatenate(flat)

  @property
  def mix(self) -> Tree:
    """What the alphas stand for."""
    now = search.clock(self.state, self.setup)
    return self.setup.method.relax(self.state.arch, now)

  def scores(self, batch: split.Batch, mix: Tree) -> Scores:
    """A batch's under a mix, normalised by its own statistics."""
    w, stats = self.state.params['weights'], self.state.stats
    logits, _ = search.forward(self.setup.net, w, stats, batch, mix)
    right = (logits.argmax(axis=-1) == batch.label) & batch.present
    return totals.cross_entropy(logits, batch), jnp.sum(right)

  def scores_at(self, batch: split.Batch, at: Tree) -> Scores:
    """The same at another group of parameters, under its alphas' mix."""
    params = {**self.state.params, self.probe.of: at}
    there = self.replace(state=self.state._replace(params=params))
    return there.scores(batch, there.mix)

  def each(self, f: Callable[..., Tree], count: int | None = None) -> Tree:
    """f(batch) of all batches of the valid half, or of the first `count`."""
    examples, setup = len(self.valid.labels), self.setup
    order = split.blocks(jnp.arange(examples), examples, setup.batch_size)
    take = partial(split.take, self.valid, mean=setup.mean, std=setup.std)
    return lax.map(lambda index: f(take(index)), order[:count])

  def batches(self) -> split.Batch:
    """Those that the probe looks at, on a first axis."""
    if self.probe.protocol == 'probe':
      return self.each(lambda batch: batch, self.probe.batches)
    key, step = jax.random.key(self.seed), self.state.step - 1
    last = search.alpha_batch(key, step, self.valid, self.setup)
    return jax.tree.map(lambda x: x[None], last)


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


@exact
def measure(view: View, hard: Tree) -> Measures:
  """Measures a state after an epoch; `hard` is its genotype's one-hot mix."""
  probe, (mean, n) = view.probe, averaging(view)
  key = jax.random.fold_in(jax.random.key(view.seed), view.state.epoch)
  times = partial(mean, hessian.product)
  eigenvalue = hessian.dominant(times, n, key, probe.products, view.among)
  return Measures(
    dominant_eigenvalue=eigenvalue + probe.decay,
    sharpness=mean(ball.rise, probe.radius, probe.climbs),
    soft=accuracy(view, view.mix),
    hard=accuracy(view, hard),
  )


@exact
def columns(view: View, vectors: jax.Array) -> jax.Array:
  """The same Hessian times each of [k, n] vectors, from one linearisation.

  Those of the identity give its columns. The probe's `decay` is left out.
  """
  mean, _ = averaging(view)
  return mean(lambda loss, x: lax.map(hessian.linear(loss, x)[0], vectors))


@exact
def density(view: View, start: jax.Array) -> tuple[jax.Array, jax.Array]:
  """An estimate of the same spectrum, from a random start of that number.

  Returns:
    Eigenvalues [products], and the share of all that each stands for.
  """
  mean, n = averaging(view)
  key = jax.random.fold_in(jax.random.key(view.seed), start)
  times, products = partial(mean, hessian.product), view.probe.products
  return hessian.density(times, n, key, products, samples=1)


def averaging(view: View) -> tuple[Callable[..., jax.Array], int]:
  """What averages over the batches that are looked at.

  Returns:
    (f, *more) -> the mean of f(loss, x, *more), where `loss` is each batch's,
      as a function of a flat vector, and x [n] is where the state stands.
    n.
  """
  batches = view.batches()
  x, unravel = flatten_util.ravel_pytree(view.at)

  def mean(f, *more):
    def each(batch):
      return f(lambda at: view.scores_at(batch, unravel(at))[0], x, *more)

    return jnp.mean(lax.map(each, batches), axis=0)

  return mean, x.size


@exact
def plane(
  view: View, one: landscape.Axis, two: landscape.Axis
) -> dict[str, jax.Array]:
  """The loss and the accuracy around a state, over two axes.

  Args:
    one: a direction, like the group that the probe is of, and [n] steps.
    two: another, and [m] steps.

  Returns:
    `loss` and `accuracy`, each [n, m], of the probe's batches.
  """
  batches = view.batches()

  def look(at):
    loss, right = lax.map(partial(view.scores_at, at=at), batches)
    share = right / jnp.sum(batches.present, axis=1)
    return {'loss': jnp.mean(loss), 'accuracy': jnp.mean(share)}

  return landscape.along(look, view.at, one, two)


def accuracy(view: View, mix: Tree) -> jax.Array:
  """Of the whole valid half, each batch normalised by its own statistics."""
  right = view.each(lambda batch: view.scores(batch, mix)[1])
  return jnp.sum(right) / len(view.valid.labels)


def accuracy_of_part(
  view: View, mix: Tree, index: jax.Array, part: jax.Array
) -> jax.Array:
  """The same of the images [n] of that part's number, augmented by it."""
  setup, examples = view.setup, len(view.valid.labels)
  key = jax.random.fold_in(jax.random.key(view.seed), view.state.step)
  key = jax.random.fold_in(key, part)

  def right(n, rows):
    own = jax.random.fold_in(key, n)
    given = rows, setup.mean, setup.std, setup.augment, own
    return view.scores(split.take(view.valid, *given), mix)[1]

  order = split.blocks(index, examples, setup.batch_size)
  each = lax.map(lambda x: right(*x), (jnp.arange(len(order)), order))
  return jnp.sum(each) / len(index)

"""SGD for the weights, Adam for the alphas, split by `optax.multi_transform`.

Parameters are {'weights': ..., 'alphas': ...}: the two groups' names are the
transforms' labels. What an optimiser's numbers are may be traced, so that one
compiled step serves all of them.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
from typing import Any

import jax
from jax import flatten_util
import jax.numpy as jnp
import optax

Tree = Any
Number = jax.Array | float
Rates = Mapping[str, Number]  # by the config's names, as 'weights.decay'
TAIL = 5  # epochs
# The numbers of a search's optimisers, by the config's names.
WEIGHTS = 'lr', 'lr_min', 'warmup', 'momentum', 'decay', 'clip'
ALPHAS = 'lr', 'b1', 'b2', 'decay', 'clip'


def cosine(lr: Number, lr_min: Number, epoch: Number, epochs: Number) -> Number:
  """Cosine annealing, constant within an epoch."""
  angle = jnp.pi * epoch / epochs
  return lr_min + 0.5 * (lr - lr_min) * (1 + jnp.cos(angle))


def early_cosine(
  lr: Number, lr_min: Number, epoch: Number, epochs: Number
) -> Number:
  """The same an epoch early, which ends on lr_min.

  So it is in what SDARTS, SGAS and others released, whose PyTorch steps the
  schedule before an epoch.
  """
  return cosine(lr, lr_min, epoch + 1, epochs)


def linear(lr: Number, lr_min: Number, epoch: Number, epochs: Number) -> Number:
  """Linear annealing, constant within an epoch.

  Over the last `TAIL` epochs, where a usual step would be coarse, as many take
  the last one (P-DARTS, Chen et al. 2019, in its ImageNet code).
  """
  left, line = epochs - epoch, jnp.maximum(epochs - TAIL, 1)
  share = jnp.where(left > TAIL, left - TAIL, left / TAIL) / line
  return lr_min + (lr - lr_min) * share


def warm(rate: Number, epoch: Number, warmup: Number) -> Number:
  """A schedule's rate, lowered to 1/n, 2/n, ... of it in n first epochs."""
  return rate * jnp.minimum((epoch + 1) / jnp.maximum(warmup, 1), 1)


SCHEDULES = {'cosine': cosine, 'early_cosine': early_cosine, 'linear': linear}


def sgd(
  lr: Number,
  momentum: Number,
  decay: Number,
  clip: Number,
  nesterov: bool = False,
) -> optax.GradientTransformation:
  """Clips the raw gradient, then adds the decay, then the momentum."""
  return optax.chain(
    clip_by_global_norm(clip),
    optax.add_decayed_weights(decay),
    optax.trace(momentum, nesterov),
    optax.scale_by_learning_rate(lr),
  )


def adam(
  lr: Number, b1: Number, b2: Number, decay: Number, clip: Number = 0.0
) -> optax.GradientTransformation:
  """Adam with L2 regularisation: the decay enters the moments, unlike AdamW.

  A positive `clip` limits the raw gradient's norm.
  """
  return optax.chain(
    clip_by_global_norm(jnp.where(clip > 0, clip, jnp.inf)),
    optax.add_decayed_weights(decay),
    optax.scale_by_adam(b1, b2),
    optax.scale_by_learning_rate(lr),
  )


def lazy_adam(
  lr: Number, b1: Number, b2: Number, decay: Number, clip: Number = 0.0
) -> optax.GradientTransformation:
  """The same where rows, of the last axis, rest if all their gradient is 0.

  Their values, moments and count of steps stay, as those of parameters without
  a gradient do in PyTorch: of an edge that a step says nothing on.
  """
  decayed = optax.stateless(
    lambda grads, params: jax.tree.map(
      lambda g, a: g + jnp.where(_due(g), decay, 0) * a, grads, params
    )
  )
  return optax.chain(
    clip_by_global_norm(jnp.where(clip > 0, clip, jnp.inf)),
    decayed,
    _scale_by_lazy_adam(b1, b2),
    optax.scale_by_learning_rate(lr),
  )


def _due(g):
  """[..., 1]: which rows have a gradient."""
  return jnp.any(g != 0, axis=-1, keepdims=True)


def _scale_by_lazy_adam(b1, b2, eps=1e-8):
  """Optax's `scale_by_adam`, with a count for each row."""

  def init(params):
    zeros = optax.tree_utils.tree_zeros_like(params)
    count = jax.tree.map(lambda a: jnp.zeros_like(_due(a), jnp.int32), params)
    return optax.ScaleByAdamState(count, zeros, zeros)

  def update(grads, state, params=None):
    del params
    due = jax.tree.map(_due, grads)
    count = jax.tree.map(jnp.add, state.count, due)

    def moment(b, old, order):
      def new(d, m, g):
        return jnp.where(d, b * m + (1 - b) * g**order, m)

      return jax.tree.map(new, due, old, grads)

    mu, nu = moment(b1, state.mu, 1), moment(b2, state.nu, 2)

    def step(d, n, m, v):
      n = jnp.maximum(n, 1)
      return jnp.where(
        d, (m / (1 - b1**n)) / (jnp.sqrt(v / (1 - b2**n)) + eps), 0
      )

    moved = jax.tree.map(step, due, count, mu, nu)
    return moved, optax.ScaleByAdamState(count, mu, nu)

  return optax.GradientTransformation(init, update)


def momentum(
  lr: Number, b1: Number, b2: Number, decay: Number, clip: Number = 0.0
) -> optax.GradientTransformation:
  """SGD by Adam's names: b1 is the momentum, b2 is nothing."""
  del b2
  return sgd(lr, b1, decay, jnp.where(clip > 0, clip, jnp.inf))


# Of the alphas, by the config's names: from `ALPHAS`'s numbers.
OPTIMIZERS = {'adam': adam, 'lazy_adam': lazy_adam, 'sgd': momentum}


def both(
  rates: Rates,
  lr: Number,
  nesterov: bool,
  alphas: Callable[..., optax.GradientTransformation] = adam,
) -> optax.GradientTransformation:
  """A search's optimisers, at the rate that the weights' schedule is at."""
  own = {name: rates[f'weights.{name}'] for name in WEIGHTS[3:]}
  other = {name: rates[f'alphas.{name}'] for name in ALPHAS}
  return split(sgd(lr, **own, nesterov=nesterov), alphas(**other))


def clip_by_global_norm(limit: Number) -> optax.GradientTransformation:
  """Optax's, but of one vector: XLA compiles hundreds of small sums slowly."""

  return optax.stateless(lambda grads, params: clipped(grads, limit))


def clipped(grads: Tree, limit: Number) -> Tree:
  """A gradient, scaled down to a norm of `limit` if its own is larger."""
  size = norm(grads)
  return _times(jnp.where(size < limit, 1.0, limit / size), grads)


@jax.custom_vjp
def _times(factor, grads):
  return jax.tree.map(lambda g: factor * g, grads)


def _times_backward(kept, c):
  # One product of vectors. A sum over hundreds of arrays XLA would compute
  # again for each number that it scales.
  factor, grads = kept
  return jnp.vdot(_vector(c), _vector(grads)), _times(factor, c)


_times.defvjp(lambda *both: (_times(*both), both), _times_backward)


def norm(tree: Tree) -> jax.Array:
  """Of all its numbers together."""
  return jnp.linalg.norm(_vector(tree))


def _vector(tree):
  return flatten_util.ravel_pytree(tree)[0]


def split(
  weights: optax.GradientTransformation, alphas: optax.GradientTransformation
) -> optax.GradientTransformation:
  """One transformation of both groups."""
  groups = {'weights': weights, 'alphas': alphas}
  return optax.multi_transform(groups, {name: name for name in groups})


def update(
  tx: optax.GradientTransformation,
  group: str,
  grads: Tree,
  opt: optax.MultiTransformState,
  params: dict[str, Tree],
  held: Tree | None = None,
) -> tuple[dict[str, Tree], optax.MultiTransformState]:
  """Updates one group and leaves the other, and its state, bit for bit.

  `multi_transform` would move the other group even for a gradient of zero, by
  its momentum and decay; so only this group's part of its answer is taken. For
  the same reason `held`, a tree of bool that broadcasts, says what stays.
  """
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, new = tx.update({**zeros, group: grads}, opt, params)
  moved = optax.apply_updates(params[group], updates[group])
  own = new.inner_states[group]
  if held is not None:
    stay = functools.partial(jax.tree.map, jnp.where, held)
    moved = stay(params[group], moved)
    momenta = functools.partial(optax.tree_utils.tree_get, key='trace')
    was, now = momenta(opt.inner_states[group]), momenta(own)
    trace = {**now, group: stay(was[group], now[group])}
    own = optax.tree_utils.tree_set(own, trace=trace)
  inner = {**opt.inner_states, group: own}
  return {**params, group: moved}, opt._replace(inner_states=inner)

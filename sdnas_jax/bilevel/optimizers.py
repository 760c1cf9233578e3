"""SGD for the weights, Adam for the alphas, split by `optax.multi_transform`.

Parameters are {'weights': ..., 'alphas': ...}: the two groups' names are the
transforms' labels.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import flatten_util
import jax.numpy as jnp
import optax

Tree = Any
TAIL = 5  # epochs


Schedule = Callable[[jax.Array], jax.Array]  # from a step to its rate


def cosine(lr: float, lr_min: float, epochs: int, steps: int) -> Schedule:
  """Cosine annealing, constant within an epoch of so many steps."""

  def schedule(count):
    angle = jnp.pi * (count // steps) / epochs
    return lr_min + 0.5 * (lr - lr_min) * (1 + jnp.cos(angle))

  return schedule


def linear(lr: float, lr_min: float, epochs: int, steps: int) -> Schedule:
  """Linear annealing, constant within an epoch of so many steps.

  Over the last `TAIL` epochs, where a usual step would be coarse, as many take
  the last one (P-DARTS, Chen et al. 2019, in its ImageNet code).
  """

  def schedule(count):
    left, line = epochs - count // steps, max(epochs - TAIL, 1)
    share = jnp.where(left > TAIL, left - TAIL, left / TAIL) / line
    return lr_min + (lr - lr_min) * share

  return schedule


def warm(schedule: Schedule, epochs: int, steps: int) -> Schedule:
  """Lowers a schedule's first epochs, to 1/n, 2/n ... of it."""
  if not epochs:
    return schedule
  return lambda count: (
    schedule(count) * jnp.minimum((count // steps + 1) / epochs, 1)
  )


SCHEDULES = {'cosine': cosine, 'linear': linear}


def sgd(
  schedule: Callable[[jax.Array], jax.Array] | float,
  momentum: float,
  decay: float,
  clip: float,
  nesterov: bool = False,
) -> optax.GradientTransformation:
  """Clips the raw gradient, then adds the decay, then the momentum."""
  return optax.chain(
    clip_by_global_norm(clip),
    optax.add_decayed_weights(decay),
    optax.trace(momentum, nesterov),
    optax.scale_by_learning_rate(schedule),
  )


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
  """Optax's, but of one vector: XLA compiles hundreds of small sums slowly."""

  def scale(grads, params):
    size = jnp.linalg.norm(_vector(grads))
    return _times(jnp.where(size < limit, 1.0, limit / size), grads)

  return optax.stateless(scale)


@jax.custom_vjp
def _times(factor, grads):
  return jax.tree.map(lambda g: factor * g, grads)


def _times_backward(kept, c):
  # One product of vectors. A sum over hundreds of arrays XLA would compute
  # again for each number that it scales.
  factor, grads = kept
  return jnp.vdot(_vector(c), _vector(grads)), _times(factor, c)


_times.defvjp(lambda *both: (_times(*both), both), _times_backward)


def _vector(tree):
  return flatten_util.ravel_pytree(tree)[0]


def adam(
  lr: float, b1: float, b2: float, decay: float
) -> optax.GradientTransformation:
  """Adam with L2 regularisation: the decay enters the moments, unlike AdamW."""
  return optax.chain(
    optax.add_decayed_weights(decay),
    optax.scale_by_adam(b1, b2),
    optax.scale_by_learning_rate(lr),
  )


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
) -> tuple[dict[str, Tree], optax.MultiTransformState]:
  """Updates one group and leaves the other, and its state, bit for bit.

  `multi_transform` would move the other group even for a gradient of zero, by
  its momentum and decay; so only this group's part of its answer is taken.
  """
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, new = tx.update({**zeros, group: grads}, opt, params)
  moved = optax.apply_updates(params[group], updates[group])
  inner = {**opt.inner_states, group: new.inner_states[group]}
  return {**params, group: moved}, opt._replace(inner_states=inner)

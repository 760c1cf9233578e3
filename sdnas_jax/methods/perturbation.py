"""Mixes moved within a box that grows by the epoch: what SDARTS's two share."""

from functools import partial

import jax
import jax.numpy as jnp

from sdnas_jax.methods import method

LEAST = 1e-30  # an operation's weight; at 0 it would be dead


def radius(now, first, last):
  """Half the box's width in an epoch."""
  return first + (last - first) * now.epoch / now.epochs


def noise(key, mix, eps):
  """U(-eps, eps) for every operation."""
  given = {'dtype': jnp.result_type(*mix.values()), 'minval': -eps}
  draw = partial(jax.random.uniform, maxval=eps, **given)
  return method.drawn(draw, key, mix)


def shifted(mix, by):
  """The mix moved, its rows made distributions again; what is dead stays so."""
  return {kind: renormalised(p + by[kind], p != 0) for kind, p in mix.items()}


def renormalised(p, alive):
  """Rows clipped to [0, 1] and divided by their sums, or one-hot where it is 0.

  Which may leave the box, as in the authors' code. What is clipped to 0 keeps
  `LEAST`, for at 0 the attack would not see what more of it does.
  """
  best = jnp.argmax(jnp.where(alive, p, -jnp.inf), axis=-1)
  p = jnp.where(alive, jnp.clip(p, 0, 1), 0)
  total = jnp.sum(p, axis=-1, keepdims=True)
  p = jnp.where(total == 0, jax.nn.one_hot(best, p.shape[-1]), p)
  p = p / jnp.where(total == 0, 1, total)
  return jnp.where(alive, jnp.maximum(p, LEAST), 0)

"""A loss along random directions: a line or a plane through where it stands.

>>> f = lambda x: {'loss': jnp.sum(x**2)}
>>> line(f, jnp.zeros(2), jnp.array([3.0, 4.0]), jnp.array([0.0, 1.0]))
{'loss': Array([ 0., 25.], dtype=float32)}
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import flatten_util
from jax import lax
import jax.numpy as jnp

Tree = Any
Look = Callable[[Tree], dict[str, jax.Array]]  # parameters -> scalars
Axis = tuple[Tree, jax.Array]  # a direction, and steps along it


def even(key: jax.Array, at: Tree) -> Tree:
  """A random direction of root mean square 1, for the alphas."""
  x, unravel = flatten_util.ravel_pytree(at)
  v = jax.random.normal(key, x.shape, x.dtype)
  return unravel(v / jnp.sqrt(jnp.mean(v**2)))


def filterwise(key: jax.Array, at: Tree) -> Tree:
  """A random direction whose every filter is as long as the parameters' own.

  So that networks whose weights differ in scale compare (Li et al. 2018,
  section 4). A kernel has edges first and outputs last; each of both is a
  filter. Biases and the normalisation's scales do not move.
  """
  leaves, structure = jax.tree.flatten(at)
  keys = jax.random.split(key, len(leaves))

  def one(key, w):
    if w.ndim < 3 or w.shape[1:-1] == (1,) * (w.ndim - 2):
      return jnp.zeros_like(w)
    d, axes = jax.random.normal(key, w.shape, w.dtype), range(1, w.ndim - 1)
    own, theirs = (
      jnp.linalg.norm(x.reshape(len(x), -1, x.shape[-1]), axis=1)
      for x in (w, d)
    )
    return d * jnp.expand_dims(own / theirs, tuple(axes))

  moved = [one(key, w) for key, w in zip(keys, leaves, strict=True)]
  return jax.tree.unflatten(structure, moved)


def line(f: Look, at: Tree, one: Tree, steps: jax.Array) -> dict:
  """f at `at` + step `one`, for each of [n] steps: scalars become [n]."""

  def there(step):
    return f(jax.tree.map(lambda x, d: x + step * d, at, one))

  return lax.map(there, steps)


def plane(f: Look, at: Tree, one: Axis, two: Axis) -> dict:
  """The same over two axes, each a direction and its steps.

  Scalars become [n, m] for [n] steps of the first and [m] of the second.
  """
  direction, steps = one

  def row(step):
    return line(f, jax.tree.map(lambda x, d: x + step * d, at, direction), *two)

  return lax.map(row, steps)

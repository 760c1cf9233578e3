"""A loss along random directions: a line or a plane through where it stands.

>>> f = lambda x: {'loss': jnp.sum(x**2)}
>>> along(f, jnp.zeros(2), (jnp.array([3.0, 4.0]), jnp.array([0.0, 1.0])))
{'loss': Array([ 0., 25.], dtype=float32)}
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
import numpy as np

Tree = Any
Look = Callable[[Tree], dict[str, jax.Array]]  # parameters -> scalars
Axis = tuple[Tree, jax.Array]  # a direction, and steps along it


def even(rng: np.random.Generator, at: Tree) -> Tree:
  """A random direction of root mean square 1, for the alphas."""
  leaves, structure = jax.tree.flatten(at)
  drawn = [rng.standard_normal(np.shape(x), np.float32) for x in leaves]
  square = sum(np.sum(d**2) for d in drawn) / sum(d.size for d in drawn)
  return jax.tree.unflatten(structure, [d / np.sqrt(square) for d in drawn])


def filterwise(rng: np.random.Generator, at: Tree) -> Tree:
  """A random direction whose every filter is as long as the parameters' own.

  So that networks whose weights differ in scale compare (Li et al. 2018,
  section 4). A kernel has edges first and outputs last; each of both is a
  filter. Biases and the normalisation's scales do not move.
  """

  def one(w):
    w = np.asarray(w)
    if w.ndim < 3 or w.shape[1:-1] == (1,) * (w.ndim - 2):
      return np.zeros_like(w)
    d = rng.standard_normal(w.shape, np.float32)
    inner = tuple(range(1, w.ndim - 1))
    own, theirs = (np.sqrt(np.sum(x**2, inner, keepdims=True)) for x in (w, d))
    return d * (own / theirs)

  # On the host: XLA compiles hundreds of small random arrays slowly.
  return jax.tree.map(one, at)


def along(f: Look, at: Tree, *axes: Axis) -> dict[str, jax.Array]:
  """f at `at` + step `direction`, for each step of an axis.

  Scalars become [n] for [n] steps, and [n, m] over a second axis's [m].
  """
  if not axes:
    return f(at)
  (direction, steps), *others = axes

  def there(step):
    moved = jax.tree.map(lambda x, d: x + step * d, at, direction)
    return along(f, moved, *others)

  return lax.map(there, steps)

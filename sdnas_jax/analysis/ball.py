"""How much a loss can rise nearby: SAM's sharpness (Foret et al. 2021).

>>> rise(lambda x: jnp.sum(x**2), jnp.array([3.0, 4.0]), radius=1.0, steps=3)
Array(11., dtype=float32)
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import flatten_util
from jax import lax
import jax.numpy as jnp

Tree = Any


def rise(
  loss: Callable[[Tree], jax.Array], at: Tree, radius: float, steps: int
) -> jax.Array:
  """max over |e| <= radius of loss(at + e), less loss(at).

  One step goes to the sphere along the gradient, which is SAM's own estimate;
  further ones go along the gradient found there. The highest loss met counts:
  a lower bound of the maximum, exact for a loss that is linear in the ball.
  """
  x, unravel = flatten_util.ravel_pytree(at)
  value = jax.value_and_grad(lambda x: loss(unravel(x)))
  begin, grads = value(x)

  def climb(_, carry):
    highest, grads = carry
    size = jnp.linalg.norm(grads)
    e = radius * grads / jnp.where(size > 0, size, 1.0)
    there, grads = value(x + e)
    return jnp.maximum(highest, there), grads

  highest, _ = lax.fori_loop(0, steps, climb, (begin, grads))
  return highest - begin

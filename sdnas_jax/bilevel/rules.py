"""How a group's gradient is taken, whatever the method.

A rule of the weights is (loss, w) -> (gradient, what the loss saw at w), where
loss(w) returns its value and what it saw. A rule of the alphas is (hypergrad,
problem) -> gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import optimizers

Tree = Any


def plain(loss: Callable[[Tree], Any], w: Tree) -> tuple[Tree, Any]:
  """The gradient at w."""
  return jax.grad(loss, has_aux=True)(w)


def sam(
  loss: Callable[[Tree], Any], w: Tree, rho: jax.Array | float = 0.05
) -> tuple[Tree, Any]:
  """The gradient at the ball's highest point, to first order, as seen from w.

  Sharpness-aware minimisation (Foret et al. 2021, equations 2 and 3): the
  gradient at w + rho g / |g|, all weights' norm. What is seen, the running
  statistics among it, is that of the first pass.
  """
  grads, seen = plain(loss, w)
  share = rho / (optimizers.norm(grads) + 1e-12)
  up = jax.tree.map(lambda w, g: w + jnp.asarray(share, w.dtype) * g, w, grads)
  return plain(loss, up)[0], seen


def direct(
  rule: Callable[[hypergrad.Problem], Tree], problem: hypergrad.Problem
) -> Tree:
  """The hypergradient at the alphas themselves."""
  return rule(problem)


WEIGHTS = {'plain': plain, 'sam': sam}
ALPHAS = {'plain': direct}

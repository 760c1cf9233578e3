"""How a group's gradient is taken, whatever the method.

A rule of the weights is (loss, w) -> (gradient, what the loss saw at w), where
loss(w) returns its value and what it saw. A rule of the alphas is (hypergrad,
problem) -> gradient. Numbers that a rule takes by name are fields of its
group's config, and traced.
"""

from collections.abc import Callable
from collections.abc import Mapping
import inspect
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
  up = _climbed(w, grads, optimizers.norm(grads), rho)
  return plain(loss, up)[0], seen


def asam(
  loss: Callable[[Tree], Any],
  w: Tree,
  rho: jax.Array | float = 0.5,
  eta: jax.Array | float = 0.01,
) -> tuple[Tree, Any]:
  """SAM in a ball as wide along each weight as that weight is large.

  Adaptive SAM (Kwon et al. 2021): the gradient at w + rho T^2 g / |T g|. T is
  |w| + eta, but 1 for biases, and for alphas where they descend by the same
  loss. So the ball is the same to weights that a normalisation rescales.
  """
  grads, seen = plain(loss, w)

  def scaled(path, w, g):
    shifts = path[0].key == 'alphas' or path[-1].key == 'bias'
    return g if shifts else (jnp.abs(w) + jnp.asarray(eta, w.dtype)) * g

  scale = jax.tree_util.tree_map_with_path
  steep = scale(scaled, w, grads)
  up = _climbed(w, scale(scaled, w, steep), optimizers.norm(steep), rho)
  return plain(loss, up)[0], seen


def gradient_norm(
  loss: Callable[[Tree], Any],
  w: Tree,
  rho: jax.Array | float = 0.1,
  balance: jax.Array | float = 0.8,
) -> tuple[Tree, Any]:
  """The gradient of the loss plus lambda times its gradient's norm.

  Zhao et al. 2022: the Hessian times the unit gradient is taken for a
  difference of gradients rho apart, which makes the sum (1 - balance) g(w) +
  balance g(w + rho g / |g|), with balance = lambda / rho. A balance of 1 is
  SAM. The release, unlike the paper, has g(w) / |g| in the first term.
  """
  grads, seen = plain(loss, w)
  ahead, _ = plain(loss, _climbed(w, grads, optimizers.norm(grads), rho))

  def mixed(g, h):
    share = jnp.asarray(balance, g.dtype)
    return (1 - share) * g + share * h

  return jax.tree.map(mixed, grads, ahead), seen


def _climbed(w, direction, size, rho):
  """w + rho direction / size."""
  share = rho / (size + 1e-12)
  return jax.tree.map(
    lambda w, d: w + jnp.asarray(share, w.dtype) * d, w, direction
  )


def direct(
  rule: Callable[[hypergrad.Problem], Tree], problem: hypergrad.Problem
) -> Tree:
  """The hypergradient at the alphas themselves."""
  return rule(problem)


def a2m(
  rule: Callable[[hypergrad.Problem], Tree],
  problem: hypergrad.Problem,
  rho: jax.Array | float = 0.1,
) -> Tree:
  """SAM's idea for the alphas, with its second-order term.

  A2M (arXiv 2503.10404): g(a') + rho H(a') g(a') at a' = a + rho g(a), where g
  is the hypergradient and H its derivative. The release divides no radius by
  |g| either. Its H is a difference of two gradients, here it is exact.
  """

  def at(a):
    return rule(problem._replace(a=a))

  def ahead(x, direction):
    return jax.tree.map(
      lambda x, d: x + jnp.asarray(rho, x.dtype) * d, x, direction
    )

  # H is symmetric: the backward pass, which all operations have, is H times.
  grads, times = jax.vjp(at, ahead(problem.a, at(problem.a)))
  return ahead(grads, times(grads)[0])


def bound(
  rule: Callable[..., Any], fields: Mapping[str, Any]
) -> Callable[..., Any]:
  """A rule with its numbers, traced; they are fields of its group's."""
  taken = inspect.signature(rule).parameters.values()
  own = {p.name: fields[p.name] for p in taken if p.default is not p.empty}
  return jax.tree_util.Partial(rule, **own)


WEIGHTS = {
  'plain': plain,
  'sam': sam,
  'asam': asam,
  'gradient_norm': gradient_norm,
}
ALPHAS = {'plain': direct, 'a2m': a2m}

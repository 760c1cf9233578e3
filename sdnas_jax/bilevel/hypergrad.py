"""The gradient of the validation loss with respect to the alphas.

  min_a L_valid(w*(a), a)  subject to  w*(a) = argmin_w L_train(w, a)

Every rule takes a `Problem` and returns the gradient of `a`, or `Learned`.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.bilevel import optimizers

Tree = Any
Loss = Callable[[Tree, Tree], jax.Array]


class Problem(NamedTuple):
  """The bilevel problem at a step."""

  w: Tree
  a: Tree
  train: Loss  # (w, a) -> scalar, with the distillation's term
  valid: Loss  # (w, a) -> scalar, with the method's penalty
  virtual: Callable[[Tree], Tree]  # w's gradient -> where the optimiser goes
  rate: jax.Array  # the weights' learning rate
  # What a rule needs that asks for no derivative of a mix: the architecture,
  # the step's mix number n, and (w, mix) -> accuracy on the valid minibatch.
  arch: Any = None
  draw: Callable[[jax.Array], Tree] | None = None
  accuracy: Callable[[Tree, Tree], jax.Array] | None = None


class Learned(NamedTuple):
  """What a rule may return, if it has learned more than the gradient."""

  gradient: Tree
  own: Tree  # the method's numbers from now on


def first_order(problem: Problem) -> Tree:
  """Takes the present weights for w*(a): dL_valid(w, a)/da."""
  return jax.grad(problem.valid, argnums=1)(problem.w, problem.a)


def second_order(problem: Problem) -> Tree:
  """Takes one step of the optimiser for w*(a) and differentiates through it.

  DARTS (equation 7) in exact form: no finite difference, and the step is the
  optimiser's own, with its momentum, decay, schedule and clipping.
  """

  def unrolled(a):
    grads = jax.grad(problem.train)(problem.w, a)
    return problem.valid(problem.virtual(grads), a)

  return jax.grad(unrolled)(problem.a)


def difference(problem: Problem, r: jax.Array | float = 0.01) -> Tree:
  """The same by a central difference in the weights (DARTS, equation 8).

  The mixed derivative along u, which is the validation gradient at w' pulled
  back through the step, -eta v for plain momentum, is taken between w - e u
  and w + e u, e = r / |u|.
  """
  w, a = problem.w, problem.a
  stepped, pull = jax.vjp(problem.virtual, jax.grad(problem.train)(w, a))
  v, direct = jax.grad(problem.valid, argnums=(0, 1))(stepped, a)
  (u,) = pull(v)
  e = r / optimizers.norm(u)

  def slope(share):
    at = jax.tree.map(lambda w, u: w + jnp.asarray(share, w.dtype) * u, w, u)
    return jax.grad(problem.train, argnums=1)(at, a)

  return jax.tree.map(
    lambda g, up, down: g + (up - down) / (2 * e), direct, slope(e), slope(-e)
  )


def neumann(problem: Problem, terms: jax.Array | int = 2) -> Tree:
  """Takes w for w*(a), and d w*/da from the optimum's own condition.

  iDARTS (Zhang et al. 2021, equation 12): with v = dL_valid/dw and H the
  Hessian of L_train in w, the inverse in dL_valid/da - (d2L_train/da dw) H^-1 v
  is the Neumann series g sum_k (I - g H)^k v, k = 0 ... terms, with g the
  weights' learning rate. H has no decay in it.
  """
  w, a = problem.w, problem.a
  v, direct = jax.grad(problem.valid, argnums=(0, 1))(w, a)
  _, pull = jax.vjp(jax.grad(problem.train), w, a)
  less = functools.partial(jax.tree.map, lambda x, y: x - problem.rate * y)

  def add(_, both):
    t, total = both
    of_w, of_a = pull(t)  # H t, and the mixed derivative along t
    return less(t, of_w), less(total, of_a)

  _, total = lax.fori_loop(0, terms + 1, add, (v, direct))
  return total

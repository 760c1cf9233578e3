"""The gradient of the validation loss with respect to the alphas.

  min_a L_valid(w*(a), a)  subject to  w*(a) = argmin_w L_train(w, a)

Every rule takes a `Problem` and returns the gradient of `a`, or `Learned`.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax

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

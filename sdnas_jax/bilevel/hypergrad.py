"""The gradient of the validation loss with respect to the alphas.

  min_a L_valid(w*(a), a)  subject to  w*(a) = argmin_w L_train(w, a)

Every rule has the signature (train_loss, valid_loss, w, a, virtual) -> grad of
a, where the losses are functions of (w, a) and `virtual` maps a gradient of
the weights to the weights that the optimiser would go to.
"""

from collections.abc import Callable
from typing import Any

import jax

Tree = Any
Loss = Callable[[Tree, Tree], jax.Array]
Virtual = Callable[[Tree], Tree]


def first_order(
  train_loss: Loss, valid_loss: Loss, w: Tree, a: Tree, virtual: Virtual
) -> Tree:
  """Takes the present weights for w*(a): dL_valid(w, a)/da."""
  del train_loss, virtual
  return jax.grad(valid_loss, argnums=1)(w, a)


def second_order(
  train_loss: Loss, valid_loss: Loss, w: Tree, a: Tree, virtual: Virtual
) -> Tree:
  """Takes one step of the optimiser for w*(a) and differentiates through it.

  DARTS (equation 7) in exact form: no finite difference, and the step is the
  optimiser's own, with its momentum, decay, schedule and clipping.
  """

  def unrolled(a):
    return valid_loss(virtual(jax.grad(train_loss)(w, a)), a)

  return jax.grad(unrolled)(a)

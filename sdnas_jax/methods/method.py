"""A search method is one value: pure functions, by default first-order DARTS.

>>> mine = Method(penalty=lambda alphas, mix, t: t * entropy(mix))
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import relax
from sdnas_jax.spaces import space as spaces

Tree = Any


def plain(loss: Callable[[Tree], Any], w: Tree) -> tuple[Tree, Any]:
  """The gradient of a loss that also returns what it saw, and what it saw."""
  return jax.grad(loss, has_aux=True)(w)


class Method(NamedTuple):
  """What a paper may change of the search step.

  `t` in [0, 1] is the share of epochs done; alphas, mask and mix hold one
  [edges, primitives] array for each kind of cell.
  """

  # (key, alphas, mask, t) -> mix
  relax: Callable[..., Tree] = relax.softmax
  # (train_loss, valid_loss, w, a, virtual) -> gradient of a
  hypergrad: Callable[..., Tree] = hypergrad.first_order
  # (loss, w) -> gradient of w, what the loss saw
  descend: Callable[..., tuple[Tree, Any]] = plain
  # (key, mix, loss_of_mix, t) -> mix, in the weight step only
  perturb: Callable[..., Tree] = lambda key, mix, loss, t: mix
  # (alphas, mix, t) -> scalar, added to the architecture's loss
  penalty: Callable[..., jax.Array] = lambda alphas, mix, t: jnp.zeros(())
  # (space, mix) -> genotype, on the host
  discretize: Callable[..., spaces.Genotype] = spaces.strongest
  # (rows of metrics.csv) -> the row whose genotype to end with, or None to go
  # on; on the host, after each epoch
  stop: Callable[[Sequence[Mapping[str, Any]]], int | None] | None = None

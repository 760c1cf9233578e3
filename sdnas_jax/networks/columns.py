"""Columns of a mix behind the primitives': what passes an edge besides them.

Partial channels (PC-DARTS, Xu et al. 2020) send the first C/k channels through
the operations and the rest around them, and shuffle both; an auxiliary skip
(DARTS-, Chu et al. 2021) is a connection that no alpha weighs.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.networks import ops


class MixedOp(nn.Module):
  """sum_o p_o op_o(x) on the edges that leave a node, and what goes beside it.

  The mix has a column for the channels that pass by, if `partial` is more than
  1, and one for the auxiliary skip, if there is one, in this order.
  """

  primitives: tuple[str, ...]
  channels: int
  stride: int
  partial: int = 1  # k; a divisor of the channels
  auxiliary: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, mix: jax.Array, ctx: ops.Context
  ) -> jax.Array:
    """From x [1, batch, ...], mix [edges, columns] to [edges, ...]."""
    own, front = len(self.primitives), self.channels // self.partial
    mixed = ops.MixedOp(self.primitives, front, self.stride, name='mixed')
    y = mixed(x[..., :front], mix[:, :own], ctx)
    if self.partial > 1:
      y = beside(y, x[..., front:], mix[:, own], self.stride, self.partial)
    if self.auxiliary:
      y += self.skip(x, mix[:, -1], ctx)
    return y

  def skip(self, x, p, ctx):
    if self.stride == 1:
      return ops.weigh(p, x, ctx)
    reduce = ops.FactorizedReduce(len(p), self.channels, name='auxiliary')
    return reduce(x, ctx, p[None])


def beside(
  y: jax.Array, rest: jax.Array, p: jax.Array, stride: int, k: int
) -> jax.Array:
  """Joins the mixed channels with those that pass by, and shuffles.

  Args:
    y: [edges, batch, height, width, C/k], mixed.
    rest: [1, batch, ..., C - C/k] of the input; at stride 2 its largest of
      every 2 x 2 pixels pass.
    p: [edges] their weights.
    stride: of the operations.
    k: output channel c is input channel (c mod k) C/k + c div k.
  """
  rest = rest if stride == 1 else largest(rest)
  # A weight in bfloat16 would not see most of an optimiser's steps.
  rest = (p[:, None, None, None, None] * rest).astype(y.dtype)
  both = jnp.concatenate([y, rest], axis=-1)
  order = np.arange(both.shape[-1]).reshape(k, -1).T.ravel()
  return both[..., order]


def largest(x: jax.Array) -> jax.Array:
  """Of every 2 x 2 pixels; an odd side's last ones stand alone."""
  pad = [(0, 0), (0, 0), *((0, n % 2) for n in x.shape[2:4]), (0, 0)]
  x = jnp.pad(x, pad, constant_values=-jnp.inf)
  edges, batch, height, width, channels = x.shape
  x = x.reshape(edges, batch, height // 2, 2, width // 2, 2, channels)
  return x.max(axis=(3, 5))


def among(
  primitives: tuple[str, ...], chosen: tuple[str, ...], mix: jax.Array
) -> jax.Array:
  """A mix [edges, columns] of some of the primitives, and what is behind."""
  if chosen == primitives:
    return mix
  behind = range(len(primitives), mix.shape[-1])
  own = [*map(primitives.index, chosen), *behind]
  return mix[:, np.array(own)]


def count(net: nn.Module) -> int:
  """How many columns the mix of a supernet has."""
  return len(net.space.primitives) + (net.partial > 1) + net.auxiliary


def whole(net: nn.Module, mix: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """A mix of the primitives alone with all columns of a supernet's.

  What passes by is weighed as the operations are in sum, and an auxiliary skip
  by 0.
  """

  def one(p):
    passing = [p.sum(axis=-1, keepdims=True)] if net.partial > 1 else []
    none = [np.zeros_like(p[..., :1])] if net.auxiliary else []
    return np.concatenate([p, *passing, *none], axis=-1)

  return {kind: one(p) for kind, p in mix.items()}

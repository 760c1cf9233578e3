"""Cells of the supernets with the pages' toy operations for convolutions.

On edge e, `none` is 0, `skip_connect` x, and o is scale_eo tanh(x) + shift_eo;
a cell's inputs are taken as they are.
"""

from unittest import mock

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import ops
from sdnas_jax.networks import supernet


class Toy(nn.Module):
  """In the place of a mixed operation."""

  primitives: tuple[str, ...]
  more: int  # channels, or affine
  stride: int = 1

  @nn.compact
  def __call__(self, x, mix, ctx):
    given = (self.variable('params', name, None) for name in ('scale', 'shift'))
    scale, shift = (v.value[..., None, None, None, None] for v in given)
    total = 0.0
    for o, name in enumerate(self.primitives):
      if name == 'skip_connect':
        y = x
      else:
        y = scale[:, o] * jnp.tanh(x) + shift[:, o]
      if name != 'none':
        total += mix[:, o, None, None, None, None] * y
    return total


class Same(nn.Module):
  """In the place of a cell's preprocessing."""

  edges: int
  channels: int

  def __call__(self, x, ctx):
    return x


def parameters(space, scale, shift):
  """The two tables, of the edges that leave each node."""
  nodes = range(space.inputs + space.nodes - 1)
  edges = {node: np.array(space.leaving(node)) for node in nodes}
  return {
    f'from{node}': {'scale': scale[own], 'shift': shift[own]}
    for node, own in edges.items()
  }


def context(x, mix):
  """Of a training pass."""
  return ops.context(x, True, None, 'grouped', False).dropping(mix)


def darts(space, tables, s0, s1, mix, kind='normal'):
  """A cell of DARTS's kind: [batch, ...] twice to [batch, ...]."""
  cell = supernet.Cell(space, s0.shape[-1], False, False)
  variables = {'params': parameters(space, *tables)}
  with (
    mock.patch.object(ops, 'MixedOp', Toy),
    mock.patch.object(ops, 'ReluConvNorm', Same),
  ):
    given = s0[None], s1[None], mix[kind], context(s0, mix)
    return cell.apply(variables, *given)[0]


def tabular(space, tables, x, mix):
  """A cell of NAS-Bench-201."""
  cell = nasbench201.MixedCell(space, False)
  variables = {'params': parameters(space, *tables)}
  (kind,) = space.kinds
  with mock.patch.object(nasbench201, 'MixedOp', Toy):
    return cell.apply(variables, x[None], mix[kind], context(x, mix))[0]

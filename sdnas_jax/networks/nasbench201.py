"""NAS-Bench-201's networks: the supernet of its space, and those of its cells.

  >>> net = nasbench201.Supernet(spaces.SPACES['nasbench201'], classes=10)
  >>> variables = net.init(key, images, mix)
  >>> logits = net.apply(variables, images, mix)

Dong and Yang, ICLR 2020, section 2.1 and their code: a stem, three stages of
equal cells with a residual block before the second and the third, which halves
the resolution and doubles the channels, and a head. Features are
[edges, batch, height, width, channels], as in `ops`.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.kernels import convolution
from sdnas_jax.kernels import outputs
from sdnas_jax.kernels import pool
from sdnas_jax.networks import columns
from sdnas_jax.networks import ops
from sdnas_jax.networks import sharing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.spaces import space as spaces

STAGES = 3
CONVOLUTIONS = {'nor_conv_1x1': 1, 'nor_conv_3x3': 3}  # and their sizes


class Conv(nn.Module):
  """The kernels of convolutions of one size, one for each edge."""

  edges: int
  features: int
  size: int
  bias: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, alive: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array | float]:
    """For an input x: [edges, size, size, channels, features], and the biases.

    Those of dead ones are zero. Biases are [edges, 1, 1, 1, features].
    """
    shape = self.edges, self.size, self.size, x.shape[-1], self.features
    kernel = ops.keep(alive, self.param('kernel', ops.uniform, shape))
    bias = 0.0
    if self.bias:
      shape = self.edges, 1, 1, 1, self.features
      bias = ops.keep(alive, self.param('bias', nn.initializers.zeros, shape))
    return kernel, bias


def single(
  x: jax.Array, conv: Conv, ctx: ops.Context, stride: int = 1
) -> jax.Array | outputs.Outputs:
  """One convolution of relu(x), which keeps the size at stride 1."""
  x = nn.relu(x)
  if ctx.train and ctx.native and stride == 1:
    return convolution.promise(x, conv(x)[:1])
  return convolution.convolve(x, conv(x)[:1], stride, ctx.native)


class MixedOp(nn.Module):
  """sum_o p_o op_o(x) on each of the edges that leave one node.

  Without affine normalisation the convolutions have a bias, which it cancels:
  so it is in the authors' code, and in their count of the parameters.
  """

  primitives: tuple[str, ...]
  affine: bool

  @nn.compact
  def __call__(
    self, x: jax.Array, mix: jax.Array, ctx: ops.Context
  ) -> jax.Array:
    """From x [1, batch, ...], mix [edges, columns] to [edges, ...]."""
    mix = ops.keep(ctx.alive(mix), mix)
    p = dict(zip(self.primitives, mix.T, strict=False))
    positive, edges, channels = nn.relu(x), len(mix), x.shape[-1]
    kernels, biases = [], []
    for name, size in CONVOLUTIONS.items():
      conv = Conv(edges, channels, size, not self.affine, name=name)
      kernel, bias = conv(positive, ctx.alive(p[name]))
      kernels.append(kernel)
      biases.append(bias)
    weights = jnp.stack([p[name] for name in CONVOLUTIONS])
    alive = ctx.alive(weights.reshape(-1))
    if ctx.train and ctx.native:
      y = convolution.promise(positive, kernels)
    else:
      y = convolution.convolve(positive, kernels, 1, ctx.native, alive)
    shift = 0.0 if self.affine else jnp.concatenate(biases)
    total = ops.Norm(self.affine)(y, ctx, weights, shift)
    total += ops.weigh(p['skip_connect'], x, ctx)
    total += ops.weigh(p['avg_pool_3x3'], pool.mean(x, 1, ctx.native), ctx)
    if mix.shape[1] > len(self.primitives):  # an auxiliary skip's column
      total += ops.weigh(mix[:, -1], x, ctx)
    return total


class MixedCell(nn.Module):
  """Four nodes, all before a node feeding it through mixed operations.

  With `partial`, a node's operations see a k-th of its channels, and the rest
  pass by (see `columns`).
  """

  space: spaces.Space
  affine: bool
  partial: int = 1

  @nn.compact
  def __call__(
    self, x: jax.Array, mix: jax.Array, ctx: ops.Context
  ) -> jax.Array:
    """From [1, batch, ...] to the same shape: the last node."""
    states = {0: x}
    for source in range(self.space.nodes):
      edges = self.space.leaving(source)
      op = MixedOp(self.space.primitives, self.affine, name=f'from{source}')
      out = self.mixed(op, states[source], mix[np.array(edges)], ctx)
      shape = *out.shape[:2], 1, 1, 1
      out = ctx.at(source).dropped('drop_path', out, shape)
      for edge, y in zip(edges, jnp.split(out, len(edges)), strict=True):
        target = self.space.edges[edge][1]
        states[target] = states.get(target, 0.0) + y
    return states[self.space.nodes]

  def mixed(self, op, x, mix, ctx):
    if self.partial == 1:
      return op(x, mix, ctx)
    own, front = len(self.space.primitives), x.shape[-1] // self.partial
    y = op(x[..., :front], mix[:, :own], ctx)
    return columns.beside(y, x[..., front:], mix[:, own], 1, self.partial)


# Made once, so that equal cells are of one class and traced once.
Recomputed = nn.remat(MixedCell)


class Cell(nn.Module):
  """A discrete cell, with affine normalisation and without biases."""

  graph: spaces.Graph

  @nn.compact
  def __call__(self, x: jax.Array, ctx: ops.Context) -> jax.Array:
    """From [1, batch, ...] to the same shape."""
    states = [x]
    for pairs in self.graph.nodes:
      total = jnp.zeros_like(x)
      for kind, source in pairs:
        if kind != 'none':
          total += self.operation(kind, states[source], ctx)
      states.append(total)
    return states[-1]

  def operation(self, kind, x, ctx):
    if kind == 'skip_connect':
      return x
    if kind == 'avg_pool_3x3':
      return pool.mean(x, 1, ctx.native)
    x = single(x, Conv(1, x.shape[-1], CONVOLUTIONS[kind]), ctx)
    return ops.Norm(affine=True)(x, ctx)


class Residual(nn.Module):
  """Halves the resolution and doubles the channels, beside a shortcut.

  Sides must be even.
  """

  @nn.compact
  def __call__(self, x: jax.Array, ctx: ops.Context) -> jax.Array:
    """From [1, batch, height, width, channels]."""
    wide = 2 * x.shape[-1]
    y = single(x, Conv(1, wide, 3, name='first'), ctx, stride=2)
    y = ops.Norm(affine=True, name='first_norm')(y, ctx)
    y = single(y, Conv(1, wide, 3, name='second'), ctx)
    y = ops.Norm(affine=True, name='second_norm')(y, ctx)
    small = nn.avg_pool(x[0], (2, 2), (2, 2))[None]
    return y + ops.Pointwise(1, wide, name='shortcut')(small, ctx)


def stacked(
  parent: nn.Module,
  images: jax.Array,
  ctx: ops.Context,
  cell: nn.Module,
  given: Callable[[int], tuple[Any, ...]],
) -> jax.Array:
  """The whole network, of a parent in a compact method: the class logits.

  Args:
    parent: with `channels`, `layers` to a stage, `classes` and `bf16`.
    images: [batch, height, width, channels] float, of sides divisible by 4.
    ctx: for the layers around the cells.
    cell: what every cell is equal to, without a parent.
    given: from a cell's number to its arguments behind its input.

  Returns:
    [batch, classes].
  """
  images = images.astype(jnp.bfloat16) if parent.bf16 else images
  x = ops.Stem(parent.channels, name='stem')(images, ctx)
  for stage in range(STAGES):
    if stage:
      x = Residual(name=f'residual{stage}')(x, ctx)
    for layer in range(parent.layers):
      own = given(stage * parent.layers + layer)
      x = sharing.call(parent, f'stage{stage}_cell{layer}', cell, x, *own)
  x = nn.relu(ops.Norm(affine=True, name='norm')(x, ctx))
  return ops.Classifier(parent.classes, name='classifier')(x)


class Supernet(supernet.Base):
  """Every edge of every cell carries a mixture of all operations."""

  layers: int = 5  # to a stage
  affine: bool = False  # the cells' normalisation; if not, there are biases
  tracked: bool = True  # validate by running statistics, not by the batch's

  @property
  def cells(self) -> tuple[str, ...]:
    """Each cell's kind."""
    return (cells.KIND,) * STAGES * self.layers

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    mix: Mapping[str, jax.Array],
    train: bool = False,
    present: jax.Array | None = None,
  ) -> jax.Array:
    """Class logits; arguments and result are those of `supernet.Supernet`."""
    own = train or not self.tracked
    ctx = ops.context(images, own, present, self.depthwise, self.bf16)
    ctx = ctx.dropping(mix) if train else ctx
    kind = Recomputed if self.remat else MixedCell
    cell = kind(self.space, self.affine, self.partial, parent=None)
    own = mix[cells.KIND]
    own = own if own.ndim == 3 else [own] * len(self.cells)
    return stacked(self, images, ctx, cell, lambda n: (own[n], ctx.at(n)))


class Derived(nn.Module):
  """The network of one architecture, to be trained from scratch."""

  genotype: cells.Genotype
  classes: int
  channels: int = 16
  layers: int = 5  # to a stage
  depthwise: str = 'auto'
  bf16: bool = False  # compute in bfloat16; see `ops`

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    present: jax.Array | None = None,
    key: jax.Array | None = None,
    drop: jax.Array | float = 0.0,
  ) -> jax.Array | tuple[jax.Array, None]:
    """Class logits; arguments and result are those of `derived.Derived`.

    It drops no path and has no auxiliary head.
    """
    del key, drop
    ctx = ops.context(images, train, present, self.depthwise, self.bf16)
    cell = Cell(self.genotype.graphs[cells.KIND], parent=None)
    logits = stacked(self, images, ctx, cell, lambda n: (ctx,))
    return (logits, None) if train else logits

"""The derived network: a genotype's cells, stacked, to be trained from scratch.

  >>> from sdnas_jax.spaces import published
  >>> cell = published.CELLS['DARTS_V2'].genotype
  >>> net = derived.Derived(cell, classes=10)
  >>> variables = net.init(key, images)
  >>> logits = net.apply(variables, images)

Features are [1, batch, height, width, channels], as in `ops`, whose modules
serve here with one edge.
"""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.kernels import pool
from sdnas_jax.networks import ops
from sdnas_jax.networks import sharing
from sdnas_jax.spaces import space as spaces


class Conv(nn.Module):
  """An ordinary convolution without bias."""

  features: int
  size: tuple[int, int]
  stride: tuple[int, int] = (1, 1)
  pad: tuple[int, int] = (0, 0)

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = 1, *self.size, x.shape[-1], self.features
    kernel = self.param('kernel', ops.uniform, shape).astype(x.dtype)
    pad = [(n, n) for n in self.pad]
    layout = 'NHWC', 'HWIO', 'NHWC'
    return lax.conv_general_dilated(
      x[0], kernel[0], self.stride, pad, dimension_numbers=layout
    )[None]


SEPARABLE = {**ops.TWICE, 'sep_conv_7x7': (7, 1)}


class Operation(nn.Module):
  """One primitive, with affine normalisation."""

  kind: str
  channels: int
  stride: int

  @nn.compact
  def __call__(self, x: jax.Array, ctx: ops.Context) -> jax.Array:
    kind, stride = self.kind, self.stride
    if kind in ops.POOLS:
      return pool.both(x, stride, ctx.native)[ops.POOLS.index(kind)][None]
    if kind == 'skip_connect':
      if stride == 1:
        return x
      return ops.FactorizedReduce(1, self.channels, affine=True)(x, ctx)
    if kind == 'noise':
      return ops.noise(ctx.noise, x, stride, 1)
    if kind == 'conv_7x1_1x7':
      x = Conv(self.channels, (1, 7), (1, stride), (0, 3))(nn.relu(x))
      x = Conv(self.channels, (7, 1), (stride, 1), (3, 0))(x)
      return ops.Norm(affine=True)(x, ctx)
    twice = kind in SEPARABLE
    kernels = (SEPARABLE[kind] if twice else ops.ONCE[kind],)
    for n in range(1 + twice):
      own = 1 if n else stride
      x = ops.Separable(kernels, 1, self.channels, own, affine=True)(x, ctx)
    return x


class Cell(nn.Module):
  """One cell of a genotype, of two inputs; what is not live is left out."""

  graph: spaces.Graph
  channels: int
  reduction: bool
  after_reduction: bool
  drop_nodes: bool = False

  @nn.compact
  def __call__(
    self, s0: jax.Array, s1: jax.Array, ctx: ops.Context
  ) -> jax.Array:
    """From two cells' outputs."""
    shrink = ops.FactorizedReduce if self.after_reduction else ops.ReluConvNorm
    states = [
      shrink(1, self.channels, affine=True)(s0, ctx),
      ops.ReluConvNorm(1, self.channels, affine=True)(s1, ctx),
    ]
    graph, half = self.graph.live, 1 + self.reduction
    zero = jnp.zeros_like(states[1][:, :, ::half, ::half])
    states += [0.0 if pairs else zero for pairs in graph.nodes]
    last = {node: edge for edge, (*_, node) in enumerate(graph.edges)}
    for edge, (kind, source, node) in enumerate(graph.edges):
      stride = half if source < 2 else 1
      here = ctx.at(edge)
      y = Operation(kind, self.channels, stride)(states[source], here)
      shape = 1, y.shape[1], 1, 1, 1
      if (kind, stride) != ('skip_connect', 1) and not self.drop_nodes:
        y = here.dropped('drop_path', y, shape)
      states[node] += y
      if self.drop_nodes and edge == last[node]:
        states[node] = here.dropped('drop_path', states[node], shape)
    return jnp.concatenate([states[n] for n in graph.outputs], axis=-1)


class Auxiliary(nn.Module):
  """A second classifier, for training only, two thirds up the network."""

  classes: int
  imagenet: bool

  @nn.compact
  def __call__(self, x: jax.Array, ctx: ops.Context) -> jax.Array:
    x = nn.relu(x)[0]
    stride = 2 if self.imagenet else 3
    x = nn.avg_pool(x, (5, 5), (stride, stride))[None]
    x = Conv(128, (1, 1))(x)
    x = nn.relu(ops.Norm(affine=True)(x, ctx))
    x = Conv(768, (2, 2))(x)
    # DARTS's ImageNet network lacks this normalisation; so do its figures.
    x = nn.relu(x if self.imagenet else ops.Norm(affine=True)(x, ctx))
    return ops.Classifier(self.classes)(x)


class Derived(nn.Module):
  """Stem, cells, global average pooling, classifier (DARTS, section 3.2).

  With `imagenet`, two stems reduce the resolution eightfold in all.
  """

  genotype: spaces.Genotype
  classes: int
  channels: int = 36
  layers: int = 20
  imagenet: bool = False
  auxiliary: bool = True
  depthwise: str = 'auto'
  bf16: bool = False  # compute in bfloat16; see `ops`
  drop_nodes: bool = False  # drop path of a node's sum, not its operations

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    present: jax.Array | None = None,
    key: jax.Array | None = None,
    drop: jax.Array | float = 0.0,
  ) -> jax.Array | tuple[jax.Array, jax.Array | None]:
    """Class logits, and in training the auxiliary ones, if there are any.

    Args:
      images: [batch, height, width, channels] float.
      train: whether to normalise by the batch's own statistics.
      present: [batch] bool, false for rows that only pad the batch.
      key: for the paths that are dropped, in training; without one, none are.
        And for the noise, if the cells have some, which has a fixed one else.
      drop: the probability of that.

    Returns:
      [batch, classes], with `train` twice, the second None without a head.
    """
    ctx = ops.context(images, train, present, self.depthwise, self.bf16)
    images = images.astype(jnp.bfloat16) if self.bf16 else images
    if train and key is not None:
      ctx = ctx.replace(drops={'drop_path': (key, drop)})
    ctx = ctx.noisy(self.noisy, key)
    s0, s1 = self.stem(images, ctx)
    channels, after, head = self.channels, self.imagenet, None
    graphs = self.genotype.graphs
    for layer in range(self.layers):
      reduction = layer in spaces.reductions(self.layers)
      channels *= 1 + reduction
      kind = 'reduce' if reduction else 'normal'
      graph = graphs[kind if kind in graphs else f'cell{layer}']
      given = graph, channels, reduction, after, self.drop_nodes
      cell = Cell(*given, parent=None)
      out = sharing.call(self, f'cell{layer}', cell, s0, s1, ctx.at(layer))
      s0, s1, after = s1, out, reduction
      wanted = self.auxiliary and (train or self.is_initializing())
      if wanted and layer == 2 * self.layers // 3:
        auxiliary = Auxiliary(self.classes, self.imagenet, name='auxiliary')
        head = auxiliary(s1, ctx)
    logits = ops.Classifier(self.classes, name='classifier')(s1)
    return (logits, head) if train else logits

  @property
  def noisy(self) -> bool:
    """Whether it has operations that are noise."""
    edges = (edge for _, cell in self.genotype.cells for edge in cell.edges)
    return any(kind == 'noise' for kind, *_ in edges)

  def stem(self, images, ctx):
    if not self.imagenet:
      s = ops.Stem(3 * self.channels, name='stem')(images, ctx)
      return s, s
    half, pad = (2, 2), (1, 1)
    x = Conv(self.channels // 2, (3, 3), half, pad, name='stem0')(images[None])
    x = nn.relu(ops.Norm(affine=True, name='stem0_norm')(x, ctx))
    x = Conv(self.channels, (3, 3), half, pad, name='stem1')(x)
    s0 = ops.Norm(affine=True, name='stem1_norm')(x, ctx)
    x = Conv(self.channels, (3, 3), half, pad, name='stem2')(nn.relu(s0))
    return s0, ops.Norm(affine=True, name='stem2_norm')(x, ctx)

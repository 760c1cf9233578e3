"""The primitives, as Linen modules that act on many edges at once.

All edges that leave a node share their input, and most primitives share their
last steps. So a module computes one family of primitives on all those edges:
features are [edges, batch, height, width, channels], several primitives are
stacked on that first axis, and an input that all share has 1 there. What does
not depend on the edge (the pools, the identity) is computed once and
broadcasts.
"""

from collections.abc import Sequence
import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.networks import depthwise


class Context(NamedTuple):
  """What a forward pass hands to every module.

  train: normalise by the batch's statistics (and, where `batch_stats` is
    mutable, fold them into the running ones) or by the running ones.
  share: [1, batch, 1, 1, 1] each row's share in those statistics, summing to 1;
    0 for the rows that only pad the batch.
  depthwise: how to convolve; see `depthwise.convolve`.
  """

  train: bool
  share: jax.Array
  depthwise: str | None = None


def bound(shape: Sequence[int]) -> float:
  """1 / sqrt(fan in) of a kernel: edges first, outputs last, inputs between."""
  return 1 / math.sqrt(math.prod(shape[1:-1]))


def uniform(
  key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32
) -> jax.Array:
  """U(-bound, bound), PyTorch's default, which DARTS starts from."""
  return jax.random.uniform(key, shape, dtype, -1.0, 1.0) * bound(shape)


class Norm(nn.Module):
  """Batch normalisation per edge and channel, with PyTorch's constants."""

  affine: bool = False
  momentum: float = 0.9
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
    shape = x.shape[0], 1, 1, 1, x.shape[-1]
    mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    var = self.variable('batch_stats', 'var', jnp.ones, shape)
    if ctx.train:
      share = ctx.share / (x.shape[2] * x.shape[3])
      y, m, v = standardize(x, share, self.epsilon)
      counts = not self.is_initializing()
      if counts and self.is_mutable_collection('batch_stats'):
        mean.value = self.momentum * mean.value + (1 - self.momentum) * m
        var.value = self.momentum * var.value + (1 - self.momentum) * v
    else:
      y = (x - mean.value) * lax.rsqrt(var.value + self.epsilon)
    if not self.affine:
      return y
    scale = self.param('scale', nn.initializers.ones, shape)
    return y * scale + self.param('bias', nn.initializers.zeros, shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def standardize(
  x: jax.Array, share: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(x - mean) / std over batch and space, the mean and the variance.

  Its derivative is written out, in a third of the operations that automatic
  differentiation takes. The mean and the variance are for the record: no
  derivative passes through them.

  Args:
    x: [edges, batch, height, width, channels].
    share: [1, batch, 1, 1, 1], each pixel's share in the statistics.
    epsilon: added to the variance.
  """
  return _standardize(x, share, epsilon)[0]


def _standardize(x, share, epsilon):
  m = jnp.sum(x * share, (1, 2, 3), keepdims=True)
  v = jnp.sum(x * x * share, (1, 2, 3), keepdims=True) - m * m
  scale = lax.rsqrt(jnp.maximum(v, 0.0) + epsilon)
  y = (x - m) * scale
  return (y, m, v), (y, share, scale)


def _standardize_gradient(epsilon, kept, gradients):
  y, share, scale = kept
  g = gradients[0]
  mean = jnp.sum(g, (1, 2, 3), keepdims=True)
  slope = jnp.sum(g * y, (1, 2, 3), keepdims=True)
  return scale * (g - share * (mean + y * slope)), None


standardize.defvjp(_standardize, _standardize_gradient)


class Pointwise(nn.Module):
  """1x1 convolution without bias, one for each edge."""

  edges: int
  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = self.edges, x.shape[-1], self.features
    kernel = self.param('kernel', uniform, shape)
    if x.shape[0] == self.edges:
      return jnp.einsum('nbhwc,ncd->nbhwd', x, kernel)
    return jnp.einsum('bhwc,ncd->nbhwd', x[0], kernel)


class Stem(nn.Module):
  """3x3 convolution and normalisation: the network's first layer."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
    """From [batch, height, width, channels] to [1, batch, ..., features]."""
    shape = 1, 3, 3, x.shape[-1], self.features
    kernel = self.param('kernel', uniform, shape)
    layout = ('NHWC', 'HWIO', 'NHWC')
    x = lax.conv_general_dilated(
      x, kernel[0], (1, 1), 'SAME', dimension_numbers=layout
    )
    return Norm(affine=True)(x[None], ctx)


class Classifier(nn.Module):
  """Global average pooling and a linear map with a bias."""

  classes: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """From [1, batch, height, width, channels] to logits [batch, classes]."""
    shape = 1, x.shape[-1], self.classes
    kernel = self.param('kernel', uniform, shape)
    bias = self.param('bias', nn.initializers.zeros, (self.classes,))
    return x[0].mean(axis=(1, 2)) @ kernel[0] + bias[None]


class ReluConvNorm(nn.Module):
  """ReLU, 1x1 convolution, normalisation: a cell's preprocessing."""

  edges: int
  channels: int
  affine: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
    x = Pointwise(self.edges, self.channels)(nn.relu(x))
    return Norm(self.affine)(x, ctx)


class FactorizedReduce(nn.Module):
  """Halves the resolution by two 1x1 convolutions, one pixel apart.

  An odd size is padded with a zero row or column, so that both halves agree.
  """

  edges: int
  channels: int
  affine: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
    odd = [(0, n % 2) for n in x.shape[2:4]]
    x = jnp.pad(nn.relu(x), ((0, 0), (0, 0), *odd, (0, 0)))
    half = self.channels // 2
    halves = (
      Pointwise(self.edges, half)(x[:, :, ::2, ::2]),
      Pointwise(self.edges, self.channels - half)(x[:, :, 1::2, 1::2]),
    )
    return Norm(self.affine)(jnp.concatenate(halves, axis=-1), ctx)


class Separable(nn.Module):
  """ReLU, depthwise and 1x1 convolution, normalisation.

  Several kernel sizes at once: each of `kernels`, a (size, dilation), serves
  `edges` edges, and the output stacks them on its first axis.
  """

  kernels: tuple[tuple[int, int], ...]
  edges: int
  channels: int
  stride: int = 1
  affine: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
    kernels = []
    for size, dilation in self.kernels:
      shape = self.edges, size, size, x.shape[-1]
      name = f'depthwise_{size}x{size}' + ('_dilated' if dilation > 1 else '')
      kernels.append(self.param(name, uniform, shape))
    dilations = [dilation for _, dilation in self.kernels]
    x = depthwise.convolve(
      nn.relu(x), kernels, dilations, self.stride, ctx.depthwise
    )
    x = Pointwise(len(kernels) * self.edges, self.channels)(x)
    return Norm(self.affine)(x, ctx)


def max_pool(x: jax.Array, stride: int) -> jax.Array:
  """Largest pixel of each 3x3 window, rows first, then columns."""
  for axis in (2, 3):
    x = functools.reduce(jnp.maximum, _window(x, axis, stride, -jnp.inf))
  return x


def avg_pool(x: jax.Array, stride: int) -> jax.Array:
  """Mean of each 3x3 window's pixels that lie inside the image."""
  for axis in (2, 3):
    last = x.shape[axis] - 1
    at = np.arange(0, last + 1, stride)
    inside = np.minimum(at + 1, last) - np.maximum(at - 1, 0) + 1
    shape = [-1 if a == axis else 1 for a in range(5)]
    x = sum(_window(x, axis, stride, 0.0)) / inside.reshape(shape)
  return x


def _window(x, axis, stride, fill):
  """The three shifts of x along an axis that a window of 3 looks at."""
  size = x.shape[axis]
  pad = [(int(a == axis),) * 2 for a in range(5)]
  x = jnp.pad(x, pad, constant_values=fill)
  return [lax.slice_in_dim(x, k, k + size, stride, axis) for k in range(3)]


POOLS = {'max_pool_3x3': max_pool, 'avg_pool_3x3': avg_pool}
# (size, dilation, blocks) of each primitive made of separable convolutions;
# those of two blocks come first, as `MixedOp.convolutions` relies on.
SEPARABLE = {
  'sep_conv_3x3': (3, 1, 2),
  'sep_conv_5x5': (5, 1, 2),
  'dil_conv_3x3': (3, 2, 1),
  'dil_conv_5x5': (5, 2, 1),
}


class MixedOp(nn.Module):
  """sum_o p_o op_o(x) on each of the edges that leave one node."""

  primitives: tuple[str, ...]
  channels: int
  stride: int

  @nn.compact
  def __call__(self, x: jax.Array, mix: jax.Array, ctx: Context) -> jax.Array:
    """From x [1, batch, ...], mix [edges, primitives] to [edges, ...]."""
    total = 0.0
    branches = (
      (self.convolutions, SEPARABLE),
      (self.pools, POOLS),
      (self.skip, ('skip_connect',)),
    )
    for branch, members in branches:
      names = [name for name in members if name in self.primitives]
      if names:
        outs = branch(names, len(mix), x, ctx)
        outs = outs.reshape(len(names), -1, *outs.shape[1:])
        for name, y in zip(names, outs, strict=True):
          p = mix[:, self.primitives.index(name)]
          total += p[:, None, None, None, None] * y
    return total

  def convolutions(self, names, edges, x, ctx):
    kernels = tuple(SEPARABLE[n][:2] for n in names)
    x = Separable(kernels, edges, self.channels, self.stride, name='first')(
      x, ctx
    )
    twice = tuple(
      k for n, k in zip(names, kernels, strict=True) if SEPARABLE[n][2] == 2
    )
    if not twice:
      return x
    head = len(twice) * edges
    again = Separable(twice, edges, self.channels, name='second')(x[:head], ctx)
    return jnp.concatenate([again, x[head:]])

  def pools(self, names, edges, x, ctx):
    pooled = [POOLS[n](x, self.stride) for n in names]
    return Norm(name='pools')(jnp.concatenate(pooled), ctx)

  def skip(self, names, edges, x, ctx):
    if self.stride == 1:
      return x
    return FactorizedReduce(edges, self.channels, name='skip')(x, ctx)

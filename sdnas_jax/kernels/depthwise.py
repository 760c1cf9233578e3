"""Depthwise convolution of many edges at once, differentiable to any order.

  >>> x, kernel = jnp.ones((1, 2, 8, 8, 3)), jnp.ones((4, 5, 5, 3))
  >>> geo = depthwise.geometry(x, [kernel], dilations=[1], stride=2)
  >>> depthwise.grouped(x, (kernel,), geo).shape
  (4, 2, 4, 4, 3)

XLA's own `grouped` convolution serves accelerators. Its CPU backend runs that
tens of times slower than need be, so there, where the `native` kernels of
`separable` cannot serve, a sum of `shifted` products does:

  y[p] = sum over taps i of k[i] x[stride p + dilation i].
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

Kernels = tuple[jax.Array, ...]


class Geometry(NamedTuple):
  """What is static of a convolution, beside its operands' shapes."""

  shared: bool  # all edges share their input, whose first axis is 1
  height: int  # of the input
  width: int
  edges: tuple[int, ...]  # of each kernel
  sizes: tuple[int, ...]
  dilations: tuple[int, ...]
  stride: int

  @property
  def out(self) -> tuple[int, int]:
    return -(-self.height // self.stride), -(-self.width // self.stride)


def geometry(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  dilations: Sequence[int],
  stride: int,
) -> Geometry:
  """Of a convolution of these; see `separable.convolve`."""
  edges, sizes = zip(*(kernel.shape[:2] for kernel in kernels), strict=True)
  return Geometry(
    len(x) == 1, *x.shape[2:4], edges, sizes, tuple(dilations), stride
  )


def parts(x: jax.Array, geo: Geometry) -> list[jax.Array]:
  """Each kernel's own edges of what has one for each, or what all share."""
  if len(x) != sum(geo.edges):
    return [x] * len(geo.edges)
  return jnp.split(x, np.cumsum(geo.edges)[:-1])


def grouped(x: jax.Array, kernels: Kernels, geo: Geometry) -> jax.Array:
  """As XLA's grouped convolution, one call for each kernel's edges.

  From x [edges or 1, batch, height, width, channels], zero-padded, to [edges,
  batch, ceil(height / stride), ceil(width / stride), channels].
  """

  def one(x, kernel, dilation):
    groups = x.shape[-1]
    return dilated(x, kernel[:, :, None], geo.stride, dilation, groups)

  outs = []
  for own, kernel, dilation in zip(
    parts(x, geo), kernels, geo.dilations, strict=True
  ):
    way = functools.partial(one, dilation=dilation)
    if geo.shared:
      outs.append(jax.vmap(way, in_axes=(None, 0))(own[0], kernel))
    else:
      outs.append(jax.vmap(way)(own, kernel))
  return jnp.concatenate(outs)


def dilated(
  x: jax.Array,
  kernel: jax.Array,
  stride: int,
  dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """XLA's own convolution of [batch, ...] with [size, size, ...], zero-padded.

  Its padding keeps the size at stride 1.
  """
  pad = (dilation * (len(kernel) - 1) // 2,) * 2
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=(pad, pad),
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def shifted(x: jax.Array, kernels: Kernels, geo: Geometry) -> jax.Array:
  """As a loop over the kernel's taps; takes and gives what `grouped` does."""

  def one(own, kernel, size, dilation):
    pad = (dilation * (size - 1) // 2,) * 2
    wide = jnp.pad(own, ((0, 0), (0, 0), pad, pad, (0, 0)))
    span = [geo.stride * (n - 1) + 1 for n in geo.out]
    sizes = *wide.shape[:2], *span, wide.shape[-1]
    taps = jnp.moveaxis(kernel.reshape(len(kernel), size**2, -1), 1, 0)

    @jax.checkpoint  # or what each tap meets would be kept
    def add(total, tap):
      t, weight = tap
      corner = 0, 0, t // size * dilation, t % size * dilation, 0
      seen = lax.dynamic_slice(wide, corner, sizes)
      seen = seen[:, :, :: geo.stride, :: geo.stride]
      return total + seen * weight[:, None, None, None], None

    shape = len(kernel), x.shape[1], *geo.out, x.shape[-1]
    first = jnp.zeros(shape, x.dtype)
    return lax.scan(add, first, (jnp.arange(size**2), taps))[0]

  own = parts(x, geo), kernels, geo.sizes, geo.dilations
  return jnp.concatenate(list(map(one, *own)))


def space_to_batch(x: jax.Array, kernels: Kernels, geo: Geometry) -> jax.Array:
  """As plain convolutions, where `grouped` has dilated ones.

  The pixels that a kernel of dilation d meets lie d apart. So at stride 1 it is
  a plain kernel on d^2 times as many images, each a d-th as wide and as high;
  at a multiple of d, one of these has all that is asked for. Takes and gives
  what `grouped` does, and does the same at other strides.
  """

  def plain(own, kernel, dilation, stride):
    here = geometry(own, [kernel], [dilation], stride)
    return grouped(own, (kernel,), here)

  def one(own, kernel, dilation):
    if geo.stride % dilation == 0:
      first = own[:, :, ::dilation, ::dilation]
      return plain(first, kernel, 1, geo.stride // dilation)
    if geo.stride > 1:
      return plain(own, kernel, dilation, geo.stride)
    y = _joined(plain(_phases(own, dilation), kernel, 1, 1), dilation)
    return y[:, :, : geo.height, : geo.width]

  return jnp.concatenate(list(map(one, parts(x, geo), kernels, geo.dilations)))


def _phases(x, d):
  """[edges, batch d d, ...] of every d-th pixel from [edges, batch, ...].

  A batch's rows stay in their order, by which they are split over devices.
  """
  edges, batch, height, width, channels = x.shape
  fill = (0, -height % d), (0, -width % d)
  x = jnp.pad(x, ((0, 0), (0, 0), *fill, (0, 0)))
  high, wide = x.shape[2] // d, x.shape[3] // d
  x = x.reshape(edges, batch, high, d, wide, d, channels)
  x = x.transpose(0, 1, 3, 5, 2, 4, 6)
  return x.reshape(edges, batch * d * d, high, wide, channels)


def _joined(x, d):
  """The inverse, with the pixels that filled up an odd image."""
  edges, batch, high, wide, channels = x.shape
  x = x.reshape(edges, batch // d**2, d, d, high, wide, channels)
  x = x.transpose(0, 1, 4, 2, 5, 3, 6)
  return x.reshape(edges, batch // d**2, high * d, wide * d, channels)


BACKENDS = {
  'grouped': grouped,
  'shifted': shifted,
  'space_to_batch': space_to_batch,
}

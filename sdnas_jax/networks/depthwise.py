"""Depthwise convolution of many edges at once, differentiable to any order.

  >>> x, kernel = jnp.ones((1, 2, 8, 8, 3)), jnp.ones((4, 5, 5, 3))
  >>> depthwise.convolve(x, [kernel], dilations=[1], stride=2).shape
  (4, 2, 4, 4, 3)

Two ways of computing it: XLA's `grouped` convolution, and a sum of `shifted`
products, because XLA's CPU backend runs the former tens of times slower. The
second is written as the three partial derivatives of one trilinear form,

  T(x, k, g) = sum over positions, taps of g[p] k[i] x[stride p + dilation i],

each the others' derivative, since XLA's own differentiation of a sum of slices
ends in reductions that recompute their inputs once a tap.
"""

from collections.abc import Sequence
import functools
import itertools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp


class Geometry(NamedTuple):
  """What fixes the shapes of a convolution: all static."""

  edges: int  # leading axis of x: 1 where all edges share their input
  height: int  # of the input
  width: int
  size: int  # of the kernel
  stride: int
  dilation: int

  @property
  def pad(self) -> int:
    return self.dilation * (self.size - 1) // 2

  @property
  def out(self) -> tuple[int, int]:
    return 1 + (self.height - 1) // self.stride, (
      1 + (self.width - 1) // self.stride
    )


def convolve(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  dilations: Sequence[int],
  stride: int = 1,
  how: str | None = None,
) -> jax.Array:
  """Depthwise convolutions, zero-padded to keep the size at stride 1.

  Args:
    x: [edges or 1, batch, height, width, channels]: every edge's own input, or
      one that all share.
    kernels: each [its edges, size, size, channels], size odd; `edges` is the
      sum of theirs.
    dilations: of each kernel's taps.
    stride: of the output positions.
    how: one of `WAYS`; by default what suits the backend.

  Returns:
    [edges, batch, ceil(height / stride), ceil(width / stride), channels].
  """
  if how is None:
    how = 'shifted' if jax.default_backend() == 'cpu' else 'grouped'
  if how == 'shifted':
    kernels, dilations = merge(kernels, dilations)
  outs, first = [], 0
  for kernel, dilation in zip(kernels, dilations, strict=True):
    own = x if len(x) == 1 else x[first : first + len(kernel)]
    shape = len(own), *x.shape[2:4], kernel.shape[1], stride, dilation
    outs.append(WAYS[how](own, kernel, Geometry(*shape)))
    first += len(kernel)
  return jnp.concatenate(outs) if len(outs) > 1 else outs[0]


def merge(
  kernels: Sequence[jax.Array], dilations: Sequence[int]
) -> tuple[list[jax.Array], list[int]]:
  """Joins neighbours of one dilation, the smaller framed by zero taps.

  One loop over 25 taps costs less than two over 9 and 25: to compile, and, on
  small images, to run.
  """
  merged, kept = [], []
  for dilation, group in itertools.groupby(
    zip(dilations, kernels, strict=True), key=lambda pair: pair[0]
  ):
    group = [kernel for _, kernel in group]
    size = max(kernel.shape[1] for kernel in group)
    frames = [((size - kernel.shape[1]) // 2,) * 2 for kernel in group]
    merged.append(
      jnp.concatenate(
        [
          jnp.pad(kernel, ((0, 0), frame, frame, (0, 0)))
          for kernel, frame in zip(group, frames, strict=True)
        ]
      )
    )
    kept.append(dilation)
  return merged, kept


def grouped(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
  """As XLA's grouped convolution, one call for all edges."""

  def one(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel[:, :, None, :],
      window_strides=(geo.stride, geo.stride),
      padding=((geo.pad, geo.pad), (geo.pad, geo.pad)),
      rhs_dilation=(geo.dilation, geo.dilation),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=x.shape[-1],
    )

  if geo.edges == 1:
    return jax.vmap(one, in_axes=(None, 0))(x[0], kernel)
  return jax.vmap(one)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def shifted(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
  """As a sum of shifted products: dT/dg."""
  window = _windows(x, geo)

  def add(n, total):
    at = 0, n // geo.size, n % geo.size, 0
    tap = lax.dynamic_slice(kernel, at, (len(kernel), 1, 1, kernel.shape[-1]))
    return total + window(n) * tap[:, None]

  shape = len(kernel), x.shape[1], *geo.out, x.shape[-1]
  return lax.fori_loop(0, geo.size**2, add, jnp.zeros(shape, x.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _input_gradient(g, kernel, geo):
  """dT/dx: the convolution of the spread-out g with the flipped kernel."""
  spread = [
    (0, n - (geo.stride * (m - 1) + 1), geo.stride - 1)
    for n, m in zip((geo.height, geo.width), geo.out, strict=True)
  ]
  g = lax.pad(
    g, jnp.zeros((), g.dtype), ((0, 0, 0), (0, 0, 0), *spread, (0,) * 3)
  )
  flipped = kernel[:, ::-1, ::-1]
  x = shifted(g, flipped, geo._replace(edges=g.shape[0], stride=1))
  return sum(x)[None] if geo.edges == 1 else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_gradient(x, g, geo):
  """dT/dk, tap by tap."""
  window = _windows(x, geo)
  taps = lax.map(
    lambda n: jnp.sum(window(n) * g, axis=(1, 2, 3)), jnp.arange(geo.size**2)
  )
  return jnp.moveaxis(taps, 0, 1).reshape(
    len(g), geo.size, geo.size, g.shape[-1]
  )


def _windows(x, geo):
  """The function from the number of a tap to the pixels that it meets."""
  pad = (geo.pad, geo.pad)
  x = jnp.pad(x, ((0, 0), (0, 0), pad, pad, (0, 0)))
  span = [geo.stride * (n - 1) + 1 for n in geo.out]
  sizes = *x.shape[:2], *span, x.shape[-1]

  def window(n):
    corner = n // geo.size * geo.dilation, n % geo.size * geo.dilation
    seen = lax.dynamic_slice(x, (0, 0, *corner, 0), sizes)
    return seen[:, :, :: geo.stride, :: geo.stride]

  return window


def _keep(function):
  return lambda a, b, geo: (function(a, b, geo), (a, b))


shifted.defvjp(
  _keep(shifted),
  lambda geo, xk, g: (
    _input_gradient(g, xk[1], geo),
    _kernel_gradient(xk[0], g, geo),
  ),
)
_input_gradient.defvjp(
  _keep(_input_gradient),
  lambda geo, gk, x: (
    shifted(x, gk[1], geo),
    _kernel_gradient(x, gk[0], geo),
  ),
)
_kernel_gradient.defvjp(
  _keep(_kernel_gradient),
  lambda geo, xg, k: (
    _input_gradient(xg[1], k, geo),
    shifted(xg[0], k, geo),
  ),
)


WAYS = {'grouped': grouped, 'shifted': shifted}

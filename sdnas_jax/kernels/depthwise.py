"""Depthwise convolution of many edges at once, differentiable to any order.

  >>> x, kernel = jnp.ones((1, 2, 8, 8, 3)), jnp.ones((4, 5, 5, 3))
  >>> depthwise.convolve(x, [kernel], [1], stride=2, backend='grouped').shape
  (4, 2, 4, 4, 3)

XLA's own `grouped` convolution serves accelerators. Its CPU backend runs that
tens of times slower than need be, so there, where the `native` kernels of
`separable` cannot serve, a sum of `shifted` products does. It is written as the
three partial derivatives of one trilinear form,

  T(x, k, g) = sum over positions, taps of g[p] k[i] x[stride p + dilation i],

each the others' derivative.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import itertools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.kernels import build

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


def convolve(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  dilations: Sequence[int],
  stride: int,
  backend: str,
) -> jax.Array:
  """Depthwise convolutions, zero-padded to keep the size at stride 1.

  Args:
    x: [edges or 1, batch, height, width, channels]: every edge's own input, or
      one that all share.
    kernels: each [its edges, size, size, channels], size odd; `edges` is the
      sum of theirs.
    dilations: of each kernel's taps.
    stride: of the output positions.
    backend: one of `BACKENDS`.

  Returns:
    [edges, batch, ceil(height / stride), ceil(width / stride), channels].
  """
  if backend == 'shifted':
    kernels, dilations = merge(kernels, dilations)
  geo = geometry(x, kernels, dilations, stride)
  return BACKENDS[backend](x, tuple(kernels), geo)


def geometry(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  dilations: Sequence[int],
  stride: int,
) -> Geometry:
  """Of these operands."""
  edges, sizes = zip(*(kernel.shape[:2] for kernel in kernels), strict=True)
  return Geometry(
    len(x) == 1, *x.shape[2:4], edges, sizes, tuple(dilations), stride
  )


def best(bf16: bool = False) -> str:
  """One of `separable.BACKENDS`; the foreign functions know no bfloat16."""
  if jax.default_backend() != 'cpu':
    return 'grouped'
  return 'native' if not bf16 and build.available() else 'shifted'


def prepare(bf16: bool) -> None:
  """Starts what `best` will wait for, if anything."""
  if jax.default_backend() == 'cpu' and not bf16:
    build.begin()


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


def trilinear(
  forward: Callable[[jax.Array, Kernels, Geometry], jax.Array],
  input_gradient: Callable[[jax.Array, Kernels, Geometry], jax.Array],
  kernel_gradient: Callable[[jax.Array, jax.Array, Geometry], Kernels],
) -> Callable[[jax.Array, Kernels, Geometry], jax.Array]:
  """Makes dT/dg differentiable, given it and dT/dx of (g, k), dT/dk of (x, g).

  No derivative is taken of the functions themselves.
  """
  conv, back, grad = (
    jax.custom_vjp(f, nondiff_argnums=(2,))
    for f in (forward, input_gradient, kernel_gradient)
  )

  def keep(f):
    return lambda a, b, geo: (f(a, b, geo), (a, b))

  conv.defvjp(
    keep(conv),
    lambda geo, xk, g: (back(g, xk[1], geo), grad(xk[0], g, geo)),
  )
  back.defvjp(
    keep(back),
    lambda geo, gk, x: (conv(x, gk[1], geo), grad(x, gk[0], geo)),
  )
  grad.defvjp(
    keep(grad),
    lambda geo, xg, k: (back(xg[1], k, geo), conv(xg[0], k, geo)),
  )
  return conv


def parts(x: jax.Array, geo: Geometry) -> list[jax.Array]:
  """Each kernel's own edges of what has one for each, or what all share."""
  if len(x) != sum(geo.edges):
    return [x] * len(geo.edges)
  return jnp.split(x, np.cumsum(geo.edges)[:-1])


def grouped(x: jax.Array, kernels: Kernels, geo: Geometry) -> jax.Array:
  """As XLA's grouped convolution, one call for each kernel's edges."""

  def one(x, kernel, dilation):
    pad = dilation * (len(kernel) - 1) // 2
    return lax.conv_general_dilated(
      x,
      kernel[:, :, None, :],
      window_strides=(geo.stride, geo.stride),
      padding=((pad, pad), (pad, pad)),
      rhs_dilation=(dilation, dilation),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=x.shape[-1],
    )

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


def _window(x, size, dilation, geo):
  """The function from the number of a tap to the pixels that it meets."""
  pad = (dilation * (size - 1) // 2,) * 2
  x = jnp.pad(x, ((0, 0), (0, 0), pad, pad, (0, 0)))
  span = [geo.stride * (n - 1) + 1 for n in geo.out]
  sizes = *x.shape[:2], *span, x.shape[-1]

  def window(t):
    corner = t // size * dilation, t % size * dilation
    seen = lax.dynamic_slice(x, (0, 0, *corner, 0), sizes)
    return seen[:, :, :: geo.stride, :: geo.stride]

  return window


def _shifted(x, kernels, geo):
  def one(own, kernel, size, dilation):
    window = _window(own, size, dilation, geo)

    def add(t, total):
      at = 0, t // size, t % size, 0
      tap = lax.dynamic_slice(kernel, at, (len(kernel), 1, 1, kernel.shape[-1]))
      return total + window(t) * tap[:, None]

    shape = len(kernel), x.shape[1], *geo.out, x.shape[-1]
    return lax.fori_loop(0, size**2, add, jnp.zeros(shape, x.dtype))

  own = parts(x, geo), kernels, geo.sizes, geo.dilations
  return jnp.concatenate(list(map(one, *own)))


def _shifted_input(g, kernels, geo):
  """The convolution of the spread-out g with the flipped kernels."""
  spread = [
    (0, n - (geo.stride * (m - 1) + 1), geo.stride - 1)
    for n, m in zip((geo.height, geo.width), geo.out, strict=True)
  ]
  g = lax.pad(
    g, jnp.zeros((), g.dtype), ((0, 0, 0), (0, 0, 0), *spread, (0,) * 3)
  )
  flipped = tuple(kernel[:, ::-1, ::-1] for kernel in kernels)
  x = _shifted(g, flipped, geo._replace(shared=False, stride=1))
  return sum(x)[None] if geo.shared else x


def _shifted_kernels(x, g, geo):
  def one(own, g, size, dilation):
    window = _window(own, size, dilation, geo)
    taps = lax.map(
      lambda t: jnp.sum(window(t) * g, axis=(1, 2, 3)), jnp.arange(size**2)
    )
    return jnp.moveaxis(taps, 0, 1).reshape(len(g), size, size, g.shape[-1])

  own = parts(x, geo), parts(g, geo), geo.sizes, geo.dilations
  return tuple(map(one, *own))


BACKENDS = {
  'grouped': grouped,
  'shifted': trilinear(_shifted, _shifted_input, _shifted_kernels),
}

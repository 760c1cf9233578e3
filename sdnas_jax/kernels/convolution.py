"""Convolutions over space and channels: of NAS-Bench-201, and of every stem.

On a CPU they are foreign functions (`convolution.cc`) or, where those do not
serve, products of each pixel's neighbours with a matrix: XLA takes a plain loop
for the gradient in a kernel. Accelerators are at their best with XLA's own.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.kernels import build
from sdnas_jax.kernels import depthwise
from sdnas_jax.kernels import outputs

Kernels = tuple[jax.Array, ...]


def convolve(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  stride: int,
  native: bool,
  alive: jax.Array | None = None,
) -> jax.Array:
  """The convolutions of an image with several odd kernels, its size kept.

  Args:
    x: [1, batch, height, width, channels], which all edges share.
    kernels: each [its edges, size, size, channels, features]; `edges` is the
      sum of theirs.
    stride: of the results.
    native: whether not XLA's convolutions do it, but foreign functions, or
      products where the stride is not 1.
    alive: [edges] bool, false where a kernel is zero and its gradient of no
      use: foreign functions compute nothing there. By default all are alive.

  Returns:
    [edges, batch, ceil(height / stride), ceil(width / stride), features].
  """
  if native and stride == 1:
    edges = sum(map(len, kernels))
    alive = jnp.ones(edges, bool) if alive is None else alive
    return fused(x, _real(x, kernels), alive)
  kernels = [kernel.astype(x.dtype) for kernel in kernels]
  one = multiply if native else depthwise.dilated
  return jnp.concatenate([_together(one, x[0], k, stride) for k in kernels])


def _real(x, kernels):
  """As foreign functions take them."""
  return tuple(kernel.astype(build.real(x.dtype)) for kernel in kernels)


def _together(one, x, kernels, stride):
  """Of all kernels of one size by one call."""
  edges, *_, features = kernels.shape
  kernel = jnp.moveaxis(kernels, 0, 3)
  y = one(x, kernel.reshape(*kernel.shape[:3], edges * features), stride)
  return jnp.moveaxis(y.reshape(*y.shape[:3], edges, features), 3, 0)


@jax.custom_vjp
def fused(x: jax.Array, kernels: Kernels, alive: jax.Array) -> jax.Array:
  """All kernels' convolutions in one foreign call; zero where not alive.

  It is linear in x and in the kernels, and its gradients, which are foreign
  calls too, are linear in both of their arguments. So the derivatives of each
  of the three are the other two.
  """
  shape = Kind().shape(x, kernels)
  return _call('convolve', shape, [x], (alive, *kernels))


@jax.custom_vjp
def _input_gradient(g, kernels, alive):
  shape = 1, *g.shape[1:-1], kernels[0].shape[-2]
  return _call('convolve_input', shape, [g], (alive, *kernels))


@jax.custom_vjp
def _kernel_gradients(x, g, like, alive):
  """Of kernels of the shapes of `like`."""
  shapes = [k.shape for k in like]
  return tuple(_call('convolve_kernels', None, [x, g], [alive], shapes))


def _call(name, shape, rows, rest, totals=()):
  given = 'convolution', name, shape, *rows, *rest
  return build.call(*given, whole=len(rest), totals=totals)


def _backward(kept, g):
  x, kernels, alive = kept
  dx = _input_gradient(g, kernels, alive)
  return dx, _kernel_gradients(x, g, kernels, alive), None


def _input_backward(kept, c):
  g, kernels, alive = kept
  return fused(c, kernels, alive), _kernel_gradients(c, g, kernels, alive), None


def _kernels_backward(kept, c):
  x, g, _, alive = kept
  return _input_gradient(g, c, alive), fused(x, c, alive), None, None


fused.defvjp(build.keep(fused, 0), _backward)
_input_gradient.defvjp(build.keep(_input_gradient, 0), _input_backward)
_kernel_gradients.defvjp(build.keep(_kernel_gradients, 0), _kernels_backward)


class Kind(NamedTuple):
  """Of `outputs.Outputs`; the weights are `Kernels`."""

  def shape(self, x, kernels):
    return sum(map(len, kernels)), *x.shape[1:-1], kernels[0].shape[-1]

  def outputs(self, x, kernels, alive):
    return fused(x, kernels, alive)

  def moments(self, x, kernels, share, alive):
    shape = self.shape(x, kernels)
    sums = [(shape[0], 1, 1, 1, shape[-1])] * 2
    rows, rest = [x, share.astype(build.real(x.dtype))], (alive, *kernels)
    return _call('convolve_moments', shape, rows, rest, sums)

  def input(self, x, kernels, g, z, share, abc, alive):
    rest = alive.reshape(-1), *abc, *kernels
    rows = g, z, share.astype(build.real(g.dtype))
    return _call('convolve_input_mixed', x.shape, rows, rest)

  def kernels(self, x, kernels, g, z, share, abc, alive):
    shapes = [k.shape for k in kernels]
    rows = x, g, z, share.astype(build.real(g.dtype))
    rest = alive.reshape(-1), *abc
    return tuple(_call('convolve_kernels_mixed', None, rows, rest, shapes))

  def both(self, *given):
    return self.input(*given), self.kernels(*given)


def promise(x: jax.Array, kernels: Sequence[jax.Array]) -> outputs.Outputs:
  """What `convolve` by foreign functions returns, for `outputs.blend`."""
  return outputs.Outputs(Kind(), x, _real(x, kernels))


# Made again in the backward pass, which saves keeping every pixel 9 times.
@functools.partial(jax.checkpoint, static_argnums=2)
def multiply(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """A convolution as a product of each pixel's neighbours with a matrix.

  Args:
    x: [batch, height, width, channels].
    kernel: [size, size, channels, features].
    stride: of the result.

  Returns:
    [batch, ceil(height / stride), ceil(width / stride), features].
  """
  (height, width), pad = x.shape[1:3], (kernel.shape[0] // 2,) * 2
  x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
  near = [
    x[:, i : i + height : stride, j : j + width : stride]
    for i, j in np.ndindex(kernel.shape[:2])
  ]
  return jnp.concatenate(near, axis=-1) @ lax.collapse(kernel, 0, 3)

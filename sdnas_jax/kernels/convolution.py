"""Convolutions over space and channels, as XLA's own or as products."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np


def convolve(
  x: jax.Array, kernel: jax.Array, stride: int, product: bool
) -> jax.Array:
  """The convolution of an image with one odd kernel, its size kept.

  Args:
    x: [batch, height, width, channels].
    kernel: [size, size, channels, features].
    stride: of the result.
    product: whether as one of pixels' neighbours with a matrix, for XLA's CPU
      backend takes several times as long for the gradient in the kernel of a
      convolution, which accelerators are at their best with.

  Returns:
    [batch, ceil(height / stride), ceil(width / stride), features].
  """
  pad = [(kernel.shape[0] // 2,) * 2] * 2
  if not product:
    layout = 'NHWC', 'HWIO', 'NHWC'
    return lax.conv_general_dilated(
      x, kernel, (stride, stride), pad, dimension_numbers=layout
    )

  # Made again in the backward pass, which saves keeping every pixel 9 times.
  @jax.checkpoint
  def multiply(x, matrix):
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), *pad, (0, 0)))
    near = [
      x[:, i : i + height : stride, j : j + width : stride]
      for i, j in np.ndindex(kernel.shape[:2])
    ]
    return jnp.concatenate(near, axis=-1) @ matrix

  return multiply(x, lax.collapse(kernel, 0, 3))


def each(
  x: jax.Array,
  kernels: jax.Array,
  stride: int,
  product: bool,
  alive: jax.Array | None = None,
) -> jax.Array:
  """The convolutions of an image with several kernels, as one convolution.

  Args:
    x: as for `convolve`, like the rest.
    kernels: [edges, size, size, channels, features].
    stride: of the results.
    product: whether as a product, of the width that those alive need.
    alive: [edges] bool, false where a kernel is zero and its gradient of no
      use; by default all are alive.

  Returns:
    [edges, batch, ceil(height / stride), ceil(width / stride), features].
  """
  edges, *_, features = kernels.shape

  def first(count, kernels):
    matrix = jnp.moveaxis(kernels[:count], 0, 3)
    matrix = matrix.reshape(*matrix.shape[:3], count * features)
    y = convolve(x, matrix, stride, product)
    y = jnp.moveaxis(y.reshape(*y.shape[:3], count, features), 3, 0)
    return jnp.pad(y, ((0, edges - count), *((0, 0),) * 4))

  if alive is None or not product:
    return first(edges, kernels)
  order = jnp.argsort(~alive)
  counts = [functools.partial(first, count) for count in range(edges + 1)]
  return lax.switch(alive.sum(), counts, kernels[order])[jnp.argsort(order)]

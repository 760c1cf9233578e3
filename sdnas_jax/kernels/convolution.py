"""Convolutions over space and channels, as XLA's own or as products."""

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

  return multiply(x, kernel.reshape(-1, kernel.shape[-1]))

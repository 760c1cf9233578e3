"""Convolutions over space and channels, as XLA's own or as products."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.kernels import depthwise


def convolve(
  x: jax.Array,
  kernels: jax.Array,
  stride: int,
  product: bool,
  alive: jax.Array | None = None,
) -> jax.Array:
  """The convolutions of an image with several odd kernels, its size kept.

  Args:
    x: [batch, height, width, channels].
    kernels: [edges, size, size, channels, features].
    stride: of the results.
    product: whether as one product of pixels' neighbours with a matrix, for
      XLA's CPU backend takes several times as long for the gradient in the
      kernel of a convolution, which accelerators are at their best with.
    alive: [edges] bool, false where a kernel is zero and its gradient of no
      use: the product is as wide as the others need. By default all are alive.

  Returns:
    [edges, batch, ceil(height / stride), ceil(width / stride), features].
  """
  edges, *_, features = kernels.shape
  xla = functools.partial(depthwise.dilated, dilation=1, groups=1)
  way = _multiply if product else xla

  def first(count, kernels):
    """Of the first kernels, in one call; zero for the others."""
    kernel = jnp.moveaxis(kernels[:count], 0, 3)
    y = way(x, kernel.reshape(*kernel.shape[:3], count * features), stride)
    y = jnp.moveaxis(y.reshape(*y.shape[:3], count, features), 3, 0)
    return jnp.pad(y, ((0, edges - count), *((0, 0),) * 4))

  if alive is None or not product:
    return first(edges, kernels)
  order = jnp.argsort(~alive)
  widths = [functools.partial(first, count) for count in range(edges + 1)]
  return lax.switch(alive.sum(), widths, kernels[order])[jnp.argsort(order)]


# Made again in the backward pass, which saves keeping every pixel 9 times.
@functools.partial(jax.checkpoint, static_argnums=2)
def _multiply(x, kernel, stride):
  (height, width), pad = x.shape[1:3], (kernel.shape[0] // 2,) * 2
  x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
  near = [
    x[:, i : i + height : stride, j : j + width : stride]
    for i, j in np.ndindex(kernel.shape[:2])
  ]
  return jnp.concatenate(near, axis=-1) @ lax.collapse(kernel, 0, 3)

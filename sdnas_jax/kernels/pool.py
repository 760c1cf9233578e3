"""Both 3x3 pools of one input, padding left out, and their derivatives.

Pooling is linear once the largest pixels are known. With `choose(x, c)`, that
takes c where x is largest and c's mean, the pools are choose(x, x), and its
transpose in c, `spread`, is their gradient; each is the other's derivative.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.kernels import build


def both(x: jax.Array, stride: int, native: bool = False) -> jax.Array:
  """The largest pixel of each window, and the mean of those inside the image.

  Args:
    x: [1, batch, height, width, channels].
    stride: of the windows.
    native: whether a foreign function does it.

  Returns:
    [2, batch, ceil(height / stride), ceil(width / stride), channels].
  """
  if not native:
    return jnp.concatenate([largest(x, stride), mean(x, stride)])
  return choose(lax.stop_gradient(x), x, stride)


def largest(x: jax.Array, stride: int) -> jax.Array:
  """Rows first, then columns."""
  for axis in (2, 3):
    x = functools.reduce(jnp.maximum, _window(x, axis, stride, -jnp.inf))
  return x


def mean(x: jax.Array, stride: int, native: bool = False) -> jax.Array:
  """Of each window's pixels that lie inside the image."""
  if native:
    return _average(x.shape[2:4], stride, x)
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


def _strided(size, stride):
  return [-(-n // stride) for n in size]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def choose(x: jax.Array, c: jax.Array, stride: int) -> jax.Array:
  """c where x is largest in each window, first of equals, and c's mean."""
  shape = 2, x.shape[1], *_strided(x.shape[2:4], stride), x.shape[-1]
  return build.call('pool', 'choose', shape, x, c, stride=np.int64(stride))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def spread(x: jax.Array, g: jax.Array, stride: int) -> jax.Array:
  """The transpose of `choose` in c: from g like its result to c's shape."""
  return build.call('pool', 'spread', x.shape, x, g, stride=np.int64(stride))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _average(size, stride, x):
  """The mean of each window of images of that size."""
  shape = 1, x.shape[1], *_strided(size, stride), x.shape[-1]
  return build.call('pool', 'average', shape, x, stride=np.int64(stride))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _average_back(size, stride, g):
  """Its transpose."""
  shape = 1, g.shape[1], *size, g.shape[-1]
  return build.call('pool', 'average_back', shape, g, stride=np.int64(stride))


_average.defvjp(
  lambda size, stride, x: (_average(size, stride, x), None),
  lambda size, stride, _, g: (_average_back(size, stride, g),),
)
_average_back.defvjp(
  lambda size, stride, g: (_average_back(size, stride, g), None),
  lambda size, stride, _, c: (_average(size, stride, c),),
)
# Which pixel is largest does not change with x, almost everywhere.
choose.defvjp(
  lambda x, c, stride: (choose(x, c, stride), x),
  lambda stride, x, g: (None, spread(x, g, stride)),
)
spread.defvjp(
  lambda x, g, stride: (spread(x, g, stride), x),
  lambda stride, x, c: (None, choose(x, c, stride)),
)

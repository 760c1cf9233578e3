"""Convolutions against a loop over pixels, in both ways to compute them."""

import functools

import jax
from jax import test_util
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import convolution


def slow(x, kernel, stride):
  """Every output pixel by itself, in NumPy."""
  size, _, _, features = kernel.shape
  batch, height, width, _ = x.shape
  out = np.zeros((batch, -(-height // stride), -(-width // stride), features))
  r = size // 2
  for b, i, j in np.ndindex(out.shape[:3]):
    for u, v in np.ndindex(size, size):
      y, z = i * stride + u - r, j * stride + v - r
      if 0 <= y < height and 0 <= z < width:
        out[b, i, j] += x[b, y, z] @ kernel[u, v]
  return out


def close(a, b, rtol):
  np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize('native', [True, False])
@pytest.mark.parametrize('size, stride', [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_it_is_the_loop_with_its_derivatives(size, stride, native):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 2, 5, 4, 3)).astype(np.float32)
  kernel = rng.normal(size=(1, size, size, 3, 2)).astype(np.float32)

  @jax.jit
  def go(x, kernel):
    return convolution.convolve(x, [kernel], stride, native)[0]

  close(go(x, kernel), slow(x[0], kernel[0], stride), 1e-5)
  # Bilinear, so that wide steps are exact but for rounding; not so the second.
  check = functools.partial(test_util.check_grads, go, (x, kernel), modes='rev')
  check(order=1, eps=0.5, rtol=1e-4, atol=1e-4)
  check(order=2, eps=1e-2, rtol=1e-3, atol=1e-3)


# Columns of whole vectors and of parts, in ones, twos and threes; rows that are
# divided in all ways; images smaller than a kernel.
SHAPES = [
  (1, 1, 1, 1, 1, (1, 1)),
  (17, 3, 2, 2, 3, (1, 1)),  # more than one image is added to a sum
  (2, 3, 2, 5, 7, (1, 2)),
  (3, 6, 35, 16, 16, (3, 3)),
  (2, 8, 8, 32, 33, (2, 1)),
  (1, 4, 17, 20, 64, (1, 0)),
  (2, 5, 3, 4, 100, (2, 2)),
]


@pytest.mark.parametrize('batch, height, width, inputs, outputs, edges', SHAPES)
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_foreign_functions_are_xla_s_convolution(
  batch, height, width, inputs, outputs, edges, dtype
):
  rng = np.random.default_rng(1)
  sizes = [
    size for n, size in zip(edges, (3, 1), strict=True) for _ in range(n)
  ]
  sizes += [5]
  alive = rng.permuted(np.arange(len(sizes)) % 3 != 1)
  with jax.enable_x64(dtype == 'float64'):

    def draw(*shape):
      return rng.normal(size=shape).astype(dtype)

    x = draw(1, batch, height, width, inputs)
    c = draw(len(sizes), batch, height, width, outputs)
    kernels = [draw(1, size, size, inputs, outputs) for size in sizes]

    @functools.partial(jax.jit, static_argnums=2)
    def go(x, kernels, native):
      """The value, and the first and second derivatives."""

      def f(x, kernels):
        kernels = [
          jnp.where(a, k, 0) for a, k in zip(alive, kernels, strict=True)
        ]
        return convolution.convolve(x, kernels, 1, native, alive)

      def slope(x, kernels):
        return sum(jnp.sum(d**2) for d in jax.tree.leaves(pulled(x, kernels)))

      def pulled(x, kernels):
        return jax.vjp(f, x, kernels)[1](c)

      both = x, kernels
      return f(*both), pulled(*both), jax.grad(slope, (0, 1))(*both)

    rtol = 1e-12 if dtype == 'float64' else 2e-5
    ours, theirs = (jax.tree.leaves(go(x, kernels, n)) for n in (True, False))
    for a, b in zip(ours, theirs, strict=True):
      close(a, b, rtol)


def test_the_image_s_neighbours_are_not_kept_for_the_backward_pass():
  x, kernel = np.ones((1, 16, 16, 4), np.float32), np.ones((3, 3, 4, 4))
  kept = jax.vjp(lambda x, k: convolution.multiply(x, k, 2), x, kernel)[1]
  size = sum(leaf.size for leaf in jax.tree.leaves(kept))
  assert size - (x.size + kernel.size) in (0, 1)  # a zero to pad with

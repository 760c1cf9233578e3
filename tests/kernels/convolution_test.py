"""Convolutions against a loop over pixels, in both ways to compute them."""

import jax
from jax import test_util
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


@pytest.mark.parametrize('product', [True, False])
@pytest.mark.parametrize('size, stride', [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_it_is_the_loop_with_its_derivatives(size, stride, product):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
  kernel = rng.normal(size=(size, size, 3, 2)).astype(np.float32)

  @jax.jit
  def go(x, kernel):
    return convolution.convolve(x, kernel[None], stride, product)[0]

  expected = slow(x, kernel, stride)
  np.testing.assert_allclose(go(x, kernel), expected, rtol=1e-5, atol=1e-5)
  # Bilinear, so that wide steps are exact but for rounding; not so the second.
  test_util.check_grads(go, (x, kernel), 1, eps=0.5, rtol=1e-4, atol=1e-4)
  test_util.check_grads(go, (x, kernel), 2, eps=1e-2, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('alive', [(1, 1, 1), (0, 1, 0), (0, 0, 0), (1, 0, 1)])
def test_only_what_is_alive_is_convolved(alive):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
  kernels = rng.normal(size=(3, 3, 3, 3, 2)).astype(np.float32)
  alive = np.array(alive, bool)
  kernels[~alive] = 0

  @jax.jit
  def go(x, kernels):
    return convolution.convolve(x, kernels, 1, True, alive)

  expected = np.stack([slow(x, kernel, 1) for kernel in kernels])
  np.testing.assert_allclose(go(x, kernels), expected, rtol=1e-5, atol=1e-5)

  def slope(f):
    return jax.jit(jax.grad(lambda *at: f(*at).sum(), (0, 1)))(x, kernels)

  slopes = slope(go)
  wanted = slope(lambda *at: convolution.convolve(*at, 1, False))
  wanted = wanted[0], wanted[1] * alive[:, None, None, None, None]
  for a, b in zip(slopes, wanted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_image_s_neighbours_are_not_kept_for_the_backward_pass():
  x, kernel = np.ones((1, 16, 16, 4), np.float32), np.ones((3, 3, 4, 4))
  kept = jax.vjp(
    lambda x, k: convolution.convolve(x, k[None], 1, True), x, kernel
  )[1]
  size = sum(leaf.size for leaf in jax.tree.leaves(kept))
  assert size - (x.size + kernel.size) in (0, 1)  # a zero to pad with

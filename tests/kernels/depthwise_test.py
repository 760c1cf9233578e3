"""Both ways of convolving against a brute-force loop and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import depthwise


def brute(x, kernel, stride, dilation):
  """One edge: x [batch, height, width, channels], kernel [k, k, channels]."""
  size, (batch, height, width, channels) = kernel.shape[0], x.shape
  out = np.zeros((batch, -(-height // stride), -(-width // stride), channels))
  for h, w in np.ndindex(out.shape[1:3]):
    for i, j in np.ndindex(size, size):
      row = h * stride + (i - size // 2) * dilation
      column = w * stride + (j - size // 2) * dilation
      if 0 <= row < height and 0 <= column < width:
        out[:, h, w] += x[:, row, column] * kernel[i, j]
  return out


def case(shared, size, rng):
  kernels = [rng.standard_normal((2, k, k, 3)) for k in (3, 5, 3, 5)]
  x = rng.standard_normal((1 if shared else 8, 2, *size, 3))
  return jnp.asarray(x), [jnp.asarray(k) for k in kernels]


DILATIONS = (1, 1, 2, 2)


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


@pytest.mark.parametrize('how', sorted(depthwise.BACKENDS))
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [(8, 8), (7, 5), (1, 2)])
@pytest.mark.parametrize('shared', [True, False])
def test_convolution_equals_a_loop(how, stride, size, shared):
  x, kernels = case(shared, size, np.random.default_rng(0))
  out = depthwise.convolve(x, kernels, DILATIONS, stride, how)
  edges = [
    (kernel, dilation)
    for bundle, dilation in zip(kernels, DILATIONS, strict=True)
    for kernel in bundle
  ]
  for n, (kernel, dilation) in enumerate(edges):
    own = np.asarray(x[0 if shared else n])
    expected = brute(own, np.asarray(kernel), stride, dilation)
    np.testing.assert_allclose(out[n], expected, atol=1e-12)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('shared', [True, False])
def test_derivatives_of_both_orders_equal_xla_s(stride, shared):
  x, kernels = case(shared, (7, 6), np.random.default_rng(1))

  def loss(how):
    def at(x, kernels):
      out = depthwise.convolve(x, kernels, DILATIONS, stride, how)
      return jnp.sum(jnp.sin(out))

    return at

  def both(how):
    first = jax.grad(loss(how), argnums=(0, 1))

    def curved(x, kernels):
      return sum(
        jnp.sum(jnp.cos(g)) for g in jax.tree.leaves(first(x, kernels))
      )

    return first(x, kernels), jax.grad(curved, argnums=(0, 1))(x, kernels)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10),
    both('shifted'),
    both('grouped'),
  )

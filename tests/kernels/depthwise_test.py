"""Both ways of convolving against a brute-force loop and each other."""

import functools

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


@functools.partial(jax.jit, static_argnums=(2, 3))
def convolve(x, kernels, stride, backend):
  geo = depthwise.geometry(x, kernels, DILATIONS, stride)
  return depthwise.BACKENDS[backend](x, tuple(kernels), geo)


@pytest.mark.parametrize('backend', sorted(depthwise.BACKENDS))
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [(8, 8), (7, 5), (1, 2)])
@pytest.mark.parametrize('shared', [True, False])
def test_convolution_equals_a_loop(backend, stride, size, shared):
  x, kernels = case(shared, size, np.random.default_rng(0))
  out = convolve(x, kernels, stride, backend)
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

  def loss(backend):
    def at(x, kernels):
      out = convolve(x, kernels, stride, backend)
      return jnp.sum(jnp.sin(out))

    return at

  def both(backend):
    first = jax.grad(loss(backend), argnums=(0, 1))

    def curved(x, kernels):
      return sum(
        jnp.sum(jnp.cos(g)) for g in jax.tree.leaves(first(x, kernels))
      )

    second = jax.grad(curved, argnums=(0, 1))
    return jax.jit(lambda *at: (first(*at), second(*at)))(x, kernels)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10),
    both('shifted'),
    both('grouped'),
  )

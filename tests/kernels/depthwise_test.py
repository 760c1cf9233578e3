"""The ways of convolving against a brute-force loop and each other."""

import functools

import jax
from jax import extend as jex
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


def case(shared, size, rng, batch=2):
  kernels = [rng.standard_normal((2, k, k, 3)) for k in (3, 5, 3, 5)]
  x = rng.standard_normal((1 if shared else 8, batch, *size, 3))
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


@pytest.mark.parametrize('backend', ['shifted', 'space_to_batch'])
@pytest.mark.parametrize('stride, batch', [(1, 2), (1, 1), (2, 2)])
@pytest.mark.parametrize('shared', [True, False])
def test_derivatives_of_both_orders_equal_xla_s(backend, stride, batch, shared):
  x, kernels = case(shared, (7, 6), np.random.default_rng(1), batch)

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
    both(backend),
    both('grouped'),
  )


@pytest.mark.parametrize('stride', [1, 2, 3, 6])
@pytest.mark.parametrize('size', [(7, 8), (2, 1)])
def test_any_dilation_of_one_image(stride, size):
  """Which `space_to_batch` does in three ways."""
  rng = np.random.default_rng(2)
  x, kernel = rng.standard_normal((1, 1, *size, 2)), rng.random((1, 3, 3, 2))
  geo = depthwise.geometry(x, [kernel], [3], stride)
  operands = jnp.asarray(x), (jnp.asarray(kernel),)
  out = jax.jit(depthwise.space_to_batch, static_argnums=2)(*operands, geo)
  expected = brute(x[0], kernel[0], stride, 3)
  np.testing.assert_allclose(out[0], expected, atol=1e-12)


def convolutions(jaxpr):
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == 'conv_general_dilated':
      yield eqn.params
    for inner in jex.core.jaxprs_in_params(eqn.params):
      yield from convolutions(inner)


@pytest.mark.parametrize('stride', [1, 2])
def test_no_convolution_is_dilated_nor_is_a_gradient(stride):
  x, kernels = case(True, (7, 6), np.random.default_rng(0))
  geo = depthwise.geometry(x, kernels[2:], [2, 2], stride)

  def loss(x, kernels):
    return jnp.sum(depthwise.space_to_batch(x, kernels, geo) ** 2)

  jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, tuple(kernels[2:]))
  found = [*convolutions(jaxpr.jaxpr)]
  assert len(found) == 3 * 2  # forward and both gradients of each kernel
  for params in found:
    for name in ('window_strides', 'lhs_dilation', 'rhs_dilation'):
      assert params[name] == (1, 1)

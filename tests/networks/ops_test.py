"""Each operation: shapes, a value worked by hand, and the normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import build
from sdnas_jax.kernels import mixture
from sdnas_jax.networks import columns
from sdnas_jax.networks import ops
from sdnas_jax.spaces import SPACES


def context(batch, train=True):
  share = jnp.full((1, batch, 1, 1, 1), 1 / batch)
  return ops.Context(train, share, 'grouped')


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('name', SPACES['darts'].primitives)
def test_shape_of_each_primitive(name, stride):
  op = ops.MixedOp((name,), channels=4, stride=stride)
  x = jnp.ones((1, 2, 8, 6, 4))
  if name == 'none':
    assert op.apply({}, x, jnp.ones((3, 1)), context(2)) == 0.0
    return
  out, variables = jax.eval_shape(
    lambda: op.init_with_output(
      jax.random.key(0), x, jnp.ones((3, 1)), context(2)
    )
  )
  assert out.shape == (3, 2, 8 // stride, 6 // stride, 4)
  norms = jax.tree.leaves(variables.get('batch_stats', {}))
  affine = jax.tree_util.tree_flatten_with_path(variables.get('params', {}))[0]
  assert all('scale' not in str(path) for path, _ in affine)
  assert bool(norms) == (name != 'skip_connect' or stride == 2)


def test_separable_convolution_by_hand():
  op = ops.Separable(((3, 1),), edges=1, channels=1)
  x = jnp.array([[[[[-1.0], [2.0]], [[3.0], [4.0]]]]])  # one 2x2 image
  ctx = context(1, train=False)
  variables = op.init(jax.random.key(0), x, ctx)
  variables['params']['depthwise_3x3'] = jnp.ones((1, 3, 3, 1))
  variables['params']['pointwise'] = jnp.full((1, 1, 1), 2.0)
  # ReLU leaves 0 + 2 + 3 + 4 = 9 under every window; running statistics 0, 1.
  expected = np.full((1, 1, 2, 2, 1), 18 / np.sqrt(1 + 1e-5))
  np.testing.assert_allclose(op.apply(variables, x, ctx), expected, rtol=1e-6)


@pytest.mark.parametrize('native', {False, build.available()})
def test_a_recorded_variance_is_never_negative(native):
  """E z^2 - m^2 is, by rounding, where a channel hardly varies."""
  rng = np.random.default_rng(0)
  x = np.linspace(500, 1500, 256) + 1e-3 * rng.random((1, 3, 5, 5, 256))
  x = jnp.asarray(x, jnp.float32)
  ctx = context(3).replace(backend='native' if native else 'grouped')
  alive = jnp.ones(1, bool)
  mean, square = mixture.moments(x, ctx.share / 25, alive, native)
  assert (square - mean * mean).min() < -0.01
  norm = ops.Norm(momentum=0.0)
  variables = norm.init(jax.random.key(0), x, ctx)
  _, after = norm.apply(variables, x, ctx, mutable=['batch_stats'])
  assert after['batch_stats']['var'].min() == 0
  assert np.isfinite(norm.apply(after, x, context(3, train=False))).all()


def test_weights_of_channels_that_pass_by_are_not_rounded():
  """As those of the operations: in bfloat16 1 + 1/300 would be 1."""
  rest = jnp.full((1, 1, 2, 2, 2), 255 / 128, jnp.bfloat16)
  p = jnp.array([1 + 1 / 300], jnp.float32)
  y = columns.beside(0 * rest, rest, p, 1, 2)
  assert y.dtype == jnp.bfloat16 and float(y.max()) == 2

  def total(p):
    return columns.beside(0 * rest, rest, p, 1, 2).astype(jnp.float32).sum()

  assert float(jax.grad(total)(p)[0]) == 8 * 255 / 128


def test_dilated_taps_are_two_pixels_apart():
  op = ops.Separable(((3, 2),), edges=1, channels=1)
  x = jnp.zeros((1, 1, 5, 5, 1)).at[0, 0, 2, 2, 0].set(1.0)
  ctx = context(1, train=False)
  variables = op.init(jax.random.key(0), x, ctx)
  variables['params']['depthwise_3x3_dilated'] = jnp.ones((1, 3, 3, 1))
  variables['params']['pointwise'] = jnp.ones((1, 1, 1))
  out = op.apply(variables, x, ctx)[0, 0, ..., 0] > 0.5
  expected = np.zeros((5, 5), bool)
  expected[::2, ::2] = True
  np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize('size', [(4, 4), (5, 3)])
def test_factorized_reduce_sees_even_and_odd_pixels(size):
  op = ops.FactorizedReduce(edges=1, channels=2)
  x = jax.random.uniform(jax.random.key(1), (1, 1, *size, 1))
  ctx = context(1, train=False)
  variables = op.init(jax.random.key(0), x, ctx)
  for n in range(2):
    variables['params'][f'Pointwise_{n}']['kernel'] = jnp.ones((1, 1, 1))
  out = op.apply(variables, x, ctx)[0, 0] * np.sqrt(1 + 1e-5)
  np.testing.assert_allclose(out[..., 0], x[0, 0, ::2, ::2, 0], rtol=1e-6)
  odd = np.asarray(x[0, 0, 1::2, 1::2, 0])
  np.testing.assert_allclose(
    out[: odd.shape[0], : odd.shape[1], 1], odd, rtol=1e-6
  )
  assert not out[odd.shape[0] :, :, 1].any()


def test_norm_equals_numpy_and_ignores_padded_rows():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 5, 3, 4, 3)).astype(np.float32) * 3 + 1
  share = jnp.array([1, 1, 1, 0, 0])[None, :, None, None, None] / 3
  op, ctx = ops.Norm(), ops.Context(True, share, 'grouped')
  variables = op.init(jax.random.key(0), x, ctx)
  first = variables['batch_stats']
  np.testing.assert_array_equal(first['mean'], np.zeros((2, 1, 1, 1, 3)))
  out, after = op.apply({'batch_stats': first}, x, ctx, mutable=['batch_stats'])
  axes = {'axis': (1, 2, 3), 'keepdims': True}
  mean, var = x[:, :3].mean(**axes), x[:, :3].var(**axes)
  np.testing.assert_allclose(
    out, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5
  )
  stats = after['batch_stats']
  np.testing.assert_allclose(stats['mean'], 0.1 * mean, rtol=1e-5)
  np.testing.assert_allclose(stats['var'], 0.9 + 0.1 * var, rtol=1e-4)

"""The fused convolutions against XLA's own, one after the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import separable

DILATIONS = (1, 1, 2, 2)


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


def case(shared, size, channels, features, batch=3):
  rng = np.random.default_rng(channels)
  kernels = [rng.standard_normal((1, k, k, channels)) for k in (3, 5, 3, 5)]
  x = rng.standard_normal((1 if shared else 4, batch, *size, channels))
  w = rng.standard_normal((4, channels, features))
  return jnp.asarray(x), [jnp.asarray(k) for k in kernels], jnp.asarray(w)


def close(a, b):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), a, b
  )


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(
  'size, channels, features',
  [
    ((8, 8), 16, 16),
    ((7, 5), 3, 5),  # fewer than a vector holds
    ((1, 2), 4, 2),
    ((6, 6), 18, 20),  # more, with a rest
    ((3, 20), 36, 9),
  ],
)
@pytest.mark.parametrize('shared', [True, False])
def test_fused_equals_composed(stride, size, channels, features, shared):
  operands = case(shared, size, channels, features)

  def both(backend):
    def loss(*operands):
      z = separable.convolve(*operands, DILATIONS, stride, backend)
      return jnp.sum(jnp.sin(z)), z

    grads = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    return jax.jit(grads)(*operands)

  close(both('native'), both('grouped'))


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('shared', [True, False])
def test_dense_equals_composed(stride, shared):
  operands = case(shared, (7, 5), 3, 5)
  close(
    *(
      separable.convolve(*operands, DILATIONS, stride, backend)
      for backend in ('dense', 'grouped')
    )
  )


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize(
  'order, channels, features', [(2, 3, 4), (2, 8, 16), (3, 2, 1)]
)
def test_higher_derivatives_too(stride, shared, order, channels, features):
  operands = case(shared, (5, 4), channels, features, batch=2)

  def derivative(backend):
    def loss(*operands):
      z = separable.convolve(*operands, DILATIONS, stride, backend)
      return jnp.sum(jnp.sin(z / 9))

    def curved(loss):
      def slope(*operands):
        first = jax.grad(loss, (0, 1, 2))(*operands)
        return sum(jnp.sum(jnp.cos(g)) for g in jax.tree.leaves(first))

      return slope

    for _ in range(order - 1):
      loss = curved(loss)
    return jax.jit(jax.grad(loss, (0, 1, 2)))(*operands)

  close(derivative('native'), derivative('grouped'))


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize('alive', [(1, 0, 0, 1), (0, 0, 0, 0)])
def test_what_is_not_alive_is_zero_and_not_read(alive, shared, stride):
  x, kernels, w = case(shared, (5, 4), 3, 4, batch=2)
  alive = jnp.array(alive, bool)

  def living(x):
    return jnp.where(jnp.expand_dims(alive, range(1, x.ndim)), x, 0)

  def all_of(f, x, kernels, w):
    def loss(*operands):
      return jnp.sum(jnp.sin(f(*operands)))

    first = jax.grad(loss, (0, 1, 2))

    def curved(*operands):
      return sum(jnp.sum(jnp.cos(g)) for g in jax.tree.leaves(first(*operands)))

    operands = x, kernels, w
    second = jax.grad(curved, (0, 1, 2))
    return f(*operands), first(*operands), second(*operands)

  def plain(x, kernels, w):
    z = separable.convolve(x, kernels, w, DILATIONS, stride, 'grouped')
    return living(z)

  def skipped(x, kernels, w):
    return separable.convolve(x, kernels, w, DILATIONS, stride, 'native', alive)

  def lost(x):
    mask = jnp.expand_dims(alive, range(1, x.ndim))
    return jnp.where(mask, x, jnp.nan)

  x, xs = (x, x) if shared else (living(x), lost(x))
  expected = jax.jit(functools.partial(all_of, plain))(x, kernels, w)
  pairs = zip(kernels, alive, strict=True)
  poisoned = [kernel if own else kernel + jnp.nan for kernel, own in pairs]
  got = jax.jit(functools.partial(all_of, skipped))(xs, poisoned, lost(w))
  close(got, expected)


def test_a_lost_value_stays_lost():
  x, kernels, w = case(True, (4, 4), 3, 4)
  z = separable.convolve(
    x.at[0, 1, 2, 2].set(jnp.nan), kernels, w, DILATIONS, 1, 'native'
  )
  np.testing.assert_array_equal(
    jnp.isnan(z).any((0, 2, 3, 4)), [False, True, False]
  )


def test_an_empty_batch():
  x, kernels, w = case(True, (4, 4), 3, 4, batch=0)

  def loss(kernels, w):
    z = separable.convolve(x, kernels, w, DILATIONS, 1, 'native')
    return jnp.sum(z)

  value, grads = jax.value_and_grad(loss, (0, 1))(kernels, w)
  assert value == 0
  for g in jax.tree.leaves(grads):
    np.testing.assert_array_equal(g, np.zeros(g.shape))


def test_many_calls_at_once_are_each_right_and_the_same_bits():
  """Helpers of one call wait in the pool behind another's: none may block."""
  x, kernels, w = case(True, (8, 8), 16, 16, batch=32)

  @jax.jit
  def many(scales):
    def one(scale):
      z = separable.convolve(scale * x, kernels, w, DILATIONS, 1, 'native')
      return jnp.sum(z * z)

    return jnp.stack([jax.grad(one)(scale) for scale in scales])

  scales = jnp.arange(1.0, 25.0)
  first = many(list(scales))
  np.testing.assert_allclose(first, first[0] * scales, rtol=1e-9)
  for _ in range(5):
    np.testing.assert_array_equal(many(list(scales)), first)

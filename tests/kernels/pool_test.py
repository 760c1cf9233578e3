"""The pools by hand, and the foreign ones against those of jax.numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import pool


@pytest.mark.parametrize('native', [True, False])
def test_pools_leave_the_padding_out(native):
  x = -jnp.arange(1.0, 17.0).reshape(1, 1, 4, 4, 1)
  most, mean = pool.both(x, 1, native)[:, 0, ..., 0]
  assert most[0, 0] == -1 and most[3, 3] == -11 and most[0, 3] == -3
  assert mean[0, 0] == -(1 + 2 + 5 + 6) / 4
  assert mean[1, 0] == -(1 + 2 + 5 + 6 + 9 + 10) / 6
  assert mean[1, 1] == -6  # of 1, 2, 3, 5, 6, 7, 9, 10, 11
  most, mean = pool.both(x, 2, native)[:, 0, ..., 0]
  np.testing.assert_array_equal(most, [[-1, -2], [-5, -6]])
  np.testing.assert_array_equal(mean, [[-3.5, -5], [-9.5, -11]])


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('shape', [(6, 6, 16), (5, 3, 3), (1, 2, 20)])
@pytest.mark.parametrize('pools', [pool.both, pool.mean])
def test_foreign_values_and_derivatives_of_both_orders(pools, shape, stride):
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((1, 3, *shape)))

    def all_of(x, native):
      def loss(x):
        return jnp.sum(jnp.sin(pools(x, stride, native)))

      first = jax.grad(loss)
      second = jax.grad(lambda x: jnp.sum(jnp.cos(first(x))))
      values = pools(x, stride, native)
      return values, first(x), second(x)

    ours, theirs = (
      jax.jit(all_of, static_argnums=1)(x, n) for n in (True, False)
    )
    for a, b in zip(ours, theirs, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_the_first_of_equals_takes_the_gradient():
  x = jnp.zeros((1, 1, 3, 3, 1))
  grad = jax.grad(lambda x: pool.both(x, 3, True)[0].sum())(x)
  expected = np.zeros((3, 3))
  expected[0, 0] = 1
  np.testing.assert_array_equal(grad[0, 0, ..., 0], expected)

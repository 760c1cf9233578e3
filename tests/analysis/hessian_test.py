"""Products, eigenvalues and densities against NumPy's dense algebra."""

import functools

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.analysis import hessian

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


@pytest.fixture
def known():
  """A quadratic form of known eigenvalues on a tree, and its matrix."""
  rng = np.random.default_rng(0)
  values = np.sort(rng.standard_normal(12) * np.geomspace(0.1, 10, 12))
  basis, _ = np.linalg.qr(rng.standard_normal((12, 12)))
  matrix = (basis * values) @ basis.T
  at = {'a': jnp.asarray(rng.standard_normal((2, 3))), 'b': jnp.ones(6)}

  def loss(tree):
    x = jnp.concatenate([tree['a'].ravel(), tree['b']])
    return 0.5 * x @ jnp.asarray(matrix) @ x + jnp.sum(x)

  return loss, at, matrix, values


def dense(loss, at):
  """The whole Hessian [n, n], one product after the other."""
  times, n = hessian.linear(loss, at)
  return jax.lax.map(times, jnp.eye(n))


def test_products_and_the_matrix_of_a_quadratic(known):
  loss, at, matrix, values = known
  v = jax.tree.map(jnp.sin, at)
  flat = np.concatenate([np.ravel(v['a']), v['b']])
  found = hessian.product(loss, at, v)
  np.testing.assert_allclose(
    np.concatenate([np.ravel(found['a']), found['b']]), matrix @ flat
  )
  found = dense(loss, at)
  np.testing.assert_allclose(found, matrix, rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(np.linalg.eigvalsh(found), values, rtol=1e-9)


def test_lanczos_finds_the_largest_eigenvalue_and_no_larger_one(known):
  loss, at, _, values = known
  times, n = hessian.linear(loss, at)
  assert n == 12
  found = [float(hessian.dominant(times, n, KEY, k)) for k in (3, 6, 12, 50)]
  assert found == sorted(found) and found[0] < values[-1]
  assert found[2] == pytest.approx(values[-1], rel=1e-9)
  assert found[3] == found[2]


def test_lanczos_weighs_each_eigenvector_s_share(known):
  loss, at, matrix, values = known
  times, n = hessian.linear(loss, at)
  v = np.random.default_rng(1).standard_normal(n)
  found, weights = hessian.lanczos(times, jnp.asarray(v), n)
  _, vectors = np.linalg.eigh(matrix)
  np.testing.assert_allclose(found, values, rtol=1e-8)
  expected = (vectors.T @ v) ** 2 / (v @ v)
  np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-9)


def test_the_density_has_the_spectrum_s_moments(known):
  loss, at, _, values = known
  times, n = hessian.linear(loss, at)
  atoms, weights = hessian.density(times, n, KEY, products=12, samples=500)
  assert float(weights.sum()) == pytest.approx(1)
  for power in (1, 2):
    each = (weights * atoms**power).reshape(500, -1).sum(1) * 500
    error = float(each.std()) / np.sqrt(500)
    assert abs(float(each.mean()) - np.mean(values**power)) < 4 * error


def test_one_gradient_serves_all_products(known):
  loss, at, _, _ = known
  calls = []

  def counted(tree):
    calls.append(1)
    return loss(tree)

  times, n = hessian.linear(counted, at)
  traced = len(calls)
  jax.lax.map(times, jnp.eye(n))
  assert len(calls) == traced == 1


def test_the_matrix_is_the_finite_difference_of_gradients():
  @functools.partial(jax.jit)
  def loss(x):
    return jnp.sum(jnp.sin(x[:3]) * jnp.exp(x[3:])) + jnp.prod(x)

  x = jnp.linspace(0.1, 0.9, 6)
  grad, step = jax.grad(loss), 1e-6
  rows = [
    (grad(x.at[n].add(step)) - grad(x.at[n].add(-step))) / (2 * step)
    for n in range(6)
  ]
  flat, _ = flatten_util.ravel_pytree(x)
  np.testing.assert_allclose(dense(loss, flat), rows, atol=1e-8)

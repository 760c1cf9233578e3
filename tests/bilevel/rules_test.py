"""SAM on a quadratic in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import rules


def quadratic(h, w):
  """w'Hw / 2 of two leaves together, and what it sees: w itself."""
  x = jnp.concatenate([w['a'].ravel(), w['b']])
  return 0.5 * x @ h @ x, x


@pytest.fixture
def problem():
  rng = np.random.default_rng(0)
  root = rng.standard_normal((5, 5)).astype(np.float32)
  h, x = root @ root.T, rng.standard_normal(5).astype(np.float32)
  w = {'a': jnp.asarray(x[:4].reshape(2, 2)), 'b': jnp.asarray(x[4:])}
  return h, x, w


def flat(grads):
  return np.concatenate([np.ravel(grads['a']), grads['b']])


@pytest.mark.parametrize('rho', [0.05, 2.0])
def test_sam_is_the_gradient_where_the_gradient_leads(problem, rho):
  h, x, w = problem
  grads, seen = rules.sam(functools.partial(quadratic, h), w, rho=rho)
  g = h @ x
  expected = h @ (x + rho * g / np.linalg.norm(g))
  np.testing.assert_allclose(flat(grads), expected, rtol=1e-5)
  np.testing.assert_array_equal(seen, x)  # of the first pass


def test_without_a_radius_it_is_the_plain_gradient(problem):
  h, x, w = problem
  loss = functools.partial(quadratic, h)
  for rule in (rules.plain, functools.partial(rules.sam, rho=0.0)):
    grads, seen = rule(loss, w)
    np.testing.assert_allclose(flat(grads), h @ x, rtol=1e-5)
    np.testing.assert_array_equal(seen, x)


def test_a_flat_place_stays_finite(problem):
  h, _, w = problem
  zero = jax.tree.map(jnp.zeros_like, w)
  grads, _ = rules.sam(functools.partial(quadratic, h), zero)
  np.testing.assert_array_equal(flat(grads), np.zeros(5))


def test_the_radius_is_traced(problem):
  h, _, w = problem
  rule = jax.jit(lambda rule: rule(functools.partial(quadratic, h), w)[0])
  one, two = (
    rule(jax.tree_util.Partial(rules.sam, rho=rho)) for rho in (0.1, 0.2)
  )
  assert rule._cache_size() == 1 and not np.allclose(flat(one), flat(two))


def test_the_alphas_plain_rule_is_the_method_s():
  problem = hypergrad.Problem(None, jnp.arange(3.0), None, None, None, None)
  found = rules.direct(lambda p: 2 * p.a, problem)
  np.testing.assert_array_equal(found, [0, 2, 4])

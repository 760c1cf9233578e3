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


def test_asam_s_ball_is_as_wide_as_the_weights(problem):
  """T scales the gradient twice: into the ball, and out of it."""
  h, x, w = problem
  loss = functools.partial(quadratic, h)
  grads, seen = rules.asam(loss, w, rho=0.3, eta=0.2)
  t, g = np.abs(x) + 0.2, h @ x
  expected = h @ (x + 0.3 * t**2 * g / np.linalg.norm(t * g))
  np.testing.assert_allclose(flat(grads), expected, rtol=1e-5)
  np.testing.assert_array_equal(seen, x)


@pytest.mark.parametrize('names', [('bias', 'bias'), ('alphas', 'x')])
def test_asam_of_biases_and_of_alphas_is_sam(problem, names):
  h, _, w = problem
  outer, inner = names
  named = {outer: {inner: w}} if outer == 'alphas' else {'a': {'bias': w['a']}}

  def loss(tree):
    both = tree[outer][inner] if outer in tree else w | {'a': tree['a']['bias']}
    return quadratic(h, both)

  one, two = (rule(loss, named, rho=0.3)[0] for rule in (rules.asam, rules.sam))
  jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize('balance, rule', [(1.0, 'sam'), (0.0, 'plain')])
def test_the_gradient_norm_has_two_ends(problem, balance, rule):
  h, _, w = problem
  loss = functools.partial(quadratic, h)
  one, _ = rules.gradient_norm(loss, w, rho=0.3, balance=balance)
  two, _ = rules.bound(rules.WEIGHTS[rule], {'rho': 0.3})(loss, w)
  jax.tree.map(np.testing.assert_array_equal, one, two)


def test_the_gradient_norm_descends_what_it_says(problem):
  """On a quadratic the difference of gradients is exact."""
  h, x, w = problem
  rho, weight = 0.1, 0.06
  loss = functools.partial(quadratic, h)
  found, _ = rules.gradient_norm(loss, w, rho=rho, balance=weight / rho)
  total = lambda x: x @ h @ x / 2 + weight * jnp.linalg.norm(h @ x)  # noqa: E731
  np.testing.assert_allclose(flat(found), jax.grad(total)(x), rtol=1e-4)


def alphas_problem(h, w):
  """Of the quadratic, as the alphas' loss."""
  valid = lambda _, a: quadratic(h, a)[0]  # noqa: E731
  return hypergrad.Problem(None, w, None, valid, None, None)


@pytest.mark.parametrize('rho', [0.0, 0.05])
def test_a2m_looks_ahead_by_the_gradient(problem, rho):
  """On a quadratic it is (1 + rho H) H (1 + rho H) a."""
  h, x, w = problem
  own = alphas_problem(h, w)
  found = rules.a2m(hypergrad.first_order, own, rho=rho)
  more = np.eye(5) + rho * h
  np.testing.assert_allclose(flat(found), more @ h @ more @ x, rtol=1e-4)
  if not rho:
    plain = rules.direct(hypergrad.first_order, own)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_a_rule_takes_its_own_fields_alone():
  fields = {'rho': 0.3, 'eta': 0.2, 'lr': 0.1, 'rule': 'asam'}
  assert rules.bound(rules.asam, fields).keywords == {'rho': 0.3, 'eta': 0.2}
  assert rules.bound(rules.plain, fields).keywords == {}
  assert rules.bound(rules.a2m, fields).keywords == {'rho': 0.3}

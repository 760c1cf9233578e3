"""DSNAS's estimator against enumeration: what its mean is the gradient of."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.methods import credit

EDGES, OPERATIONS = 3, 3
RNG = np.random.default_rng(0)
ALPHAS = RNG.standard_normal((EDGES, OPERATIONS))
TABLE = RNG.standard_normal((OPERATIONS,) * EDGES)
FREE = np.full(EDGES, -1)
DRAWS = [*itertools.product(range(OPERATIONS), repeat=EDGES)]


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def linear(z):
  """Of each edge's row, the others being given: any table of the draws is."""
  return jnp.einsum('abc,a,b,c', TABLE, *z)


def curved(z):
  return jnp.exp(linear(z))


def mean(loss, alphas):
  """Of a loss over all draws."""
  p = jax.nn.softmax(alphas)
  total = 0.0
  for draw in DRAWS:
    z = jax.nn.one_hot(jnp.asarray(draw), OPERATIONS)
    total += jnp.prod(p[np.arange(EDGES), draw]) * loss(z)
  return total


def estimate(loss, alphas, draw):
  """The gradient of one draw."""
  noise = 1e3 * jax.nn.one_hot(jnp.asarray(draw), OPERATIONS)

  def value(alphas):
    alive = jnp.ones(alphas.shape, bool)
    return loss(credit.sampled(alphas, alive, noise, FREE))

  return jax.grad(value)(alphas)


def expected(loss, alphas):
  p = np.asarray(jax.nn.softmax(alphas))
  share = [np.prod(p[np.arange(EDGES), draw]) for draw in DRAWS]
  each = jax.vmap(functools.partial(estimate, loss, alphas))(np.array(DRAWS))
  return np.tensordot(share, each, 1)


def test_it_has_no_bias_where_the_loss_is_linear_in_each_edge():
  alphas = jnp.asarray(ALPHAS)
  true = jax.grad(functools.partial(mean, linear))(alphas)
  np.testing.assert_allclose(expected(linear, alphas), true, atol=1e-12)


def test_it_has_where_the_loss_is_curved():
  """There dL/dZ at a draw is not what another draw would change."""
  alphas = jnp.asarray(ALPHAS)
  true = np.asarray(jax.grad(functools.partial(mean, curved))(alphas))
  apart = expected(curved, alphas) - true
  assert np.abs(apart).max() > 0.1 * np.abs(true).max()


def test_draws_are_as_often_as_the_softmax_says():
  alphas, n = jnp.asarray(ALPHAS), 20_000
  alive = jnp.ones(alphas.shape, bool)
  noise = jax.random.gumbel(jax.random.key(0), (n, *alphas.shape))
  z = jax.vmap(lambda g: credit.sampled(alphas, alive, g, FREE))(noise)
  p = np.asarray(jax.nn.softmax(alphas))
  error = np.abs(z.mean(axis=0) - p)
  assert (error < 4 * np.sqrt(p * (1 - p) / n)).all()

"""Hypergradients against a closed form and against finite differences."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import optimizers
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from tests import toys


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


def test_second_order_on_a_quadratic():
  rng = np.random.default_rng(0)
  a_, b = rng.standard_normal((2, 4, 3))
  w, a = (
    jnp.asarray(rng.standard_normal(4)),
    jnp.asarray(rng.standard_normal(3)),
  )
  target, lr = rng.standard_normal(4), 0.1

  def train_loss(w, a):  # dL/dw = w - A a
    return 0.5 * jnp.sum((w - a_ @ a) ** 2)

  def valid_loss(w, a):
    return 0.5 * jnp.sum((w + b @ a - target) ** 2)

  problem = hypergrad.Problem(
    w, a, train_loss, valid_loss, lambda g: w - lr * g, lr
  )
  grad = hypergrad.second_order(problem)
  stepped = w - lr * (w - a_ @ a)
  residual = stepped + b @ a - target
  np.testing.assert_allclose(grad, (lr * a_ + b).T @ residual, rtol=1e-12)
  plain = hypergrad.first_order(problem)
  np.testing.assert_allclose(plain, b.T @ (w + b @ a - target), rtol=1e-12)


def losses(rng):
  net = supernet.Supernet(toys.SPACE, toys.CLASSES, channels=2, layers=3)
  images = jnp.asarray(rng.standard_normal((2, 5, *toys.IMAGE)))
  labels = jnp.asarray(rng.integers(0, toys.CLASSES, (2, 5)))
  zeros = {k: jnp.zeros(toys.SPACE.shape) for k in toys.SPACE.kinds}
  variables = sizing.variables(sizing.shapes(net, toys.IMAGE, zeros), 0)
  w, stats = jax.tree.map(
    lambda x: jnp.asarray(x, jnp.float64),
    (variables['params'], variables['batch_stats']),
  )

  def loss(half):
    def at(w, a):
      mix = jax.tree.map(jax.nn.softmax, a)
      logits, _ = net.apply(
        {'params': w, 'batch_stats': stats},
        images[half],
        mix,
        train=True,
        mutable=['batch_stats'],
      )
      chosen = jax.nn.log_softmax(logits)[jnp.arange(5), labels[half]]
      return -jnp.mean(chosen)

    return at

  a = {
    k: jnp.asarray(rng.standard_normal(toys.SPACE.shape))
    for k in toys.SPACE.kinds
  }
  return loss(0), loss(1), w, a


def test_the_second_order_of_a_network_equals_central_differences():
  train_loss, valid_loss, w, a = losses(np.random.default_rng(1))
  sgd = optimizers.sgd(0.5, 0.9, 3e-4, clip=0.1)  # tight, so that it clips
  tx = optimizers.split(sgd, optimizers.adam(0.1, 0.5, 0.999, 1e-3))
  params = {'weights': w, 'alphas': a}
  opt = jax.jit(tx.init)(params)
  # One earlier step gives the virtual step a momentum to carry.
  g = jax.jit(jax.grad(train_loss))(w, a)
  params, opt = jax.jit(functools.partial(optimizers.update, tx, 'weights'))(
    g, opt, params
  )
  w = params['weights']

  def virtual(g):
    return optimizers.update(tx, 'weights', g, opt, params)[0]['weights']

  @jax.jit
  def value(a):
    return valid_loss(virtual(jax.grad(train_loss)(w, a)), a)

  def problem(a):
    return hypergrad.Problem(w, a, train_loss, valid_loss, virtual, 0.5)

  grad = jax.jit(lambda a: hypergrad.second_order(problem(a)))(a)
  rng, step = np.random.default_rng(2), 1e-5
  for _ in range(4):
    way = {k: jnp.asarray(rng.standard_normal(v.shape)) for k, v in a.items()}
    up, down = (
      value({k: a[k] + sign * step * way[k] for k in a}) for sign in (1, -1)
    )
    slope = sum(jnp.vdot(grad[k], way[k]) for k in a)
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6)


def quadratic(rng):
  """A problem away from its optimum; the implicit gradient there."""
  root, mixed = rng.standard_normal((4, 4)), rng.standard_normal((4, 3))
  h = root @ root.T / 4 + np.eye(4)
  c, target = rng.standard_normal((2, 4))
  w, a = (jnp.asarray(rng.standard_normal(n)) for n in (4, 3))
  rate = 1 / np.linalg.eigvalsh(h).max()

  def train_loss(w, a):
    return 0.5 * w @ h @ w - w @ (mixed @ a + c)

  def valid_loss(w, a):
    return 0.5 * jnp.sum((w - target) ** 2) + jnp.sum(jnp.sin(a))

  def virtual(g):
    return w - rate * g

  problem = hypergrad.Problem(w, a, train_loss, valid_loss, virtual, rate)
  return problem, np.cos(a) + mixed.T @ np.linalg.solve(h, w - target)


def test_the_series_ends_at_the_implicit_gradient():
  problem, implicit = quadratic(np.random.default_rng(0))
  errors = [
    np.abs(hypergrad.neumann(problem, terms) - implicit).max()
    for terms in (0, 2, 8, 32, 128)
  ]
  assert all(b < a for a, b in itertools.pairwise(errors))
  assert errors[-1] < 1e-10 < errors[1]


def test_without_more_terms_it_is_second_order_seen_from_the_weights():
  problem, _ = quadratic(np.random.default_rng(1))
  at = problem._replace(virtual=lambda g: problem.w)
  w, a = problem.w, problem.a
  v, direct = jax.grad(problem.valid, (0, 1))(w, a)
  # One step's derivative, with the validation gradient at w instead of w'.
  _, pull = jax.vjp(lambda a: jax.grad(problem.train)(w, a), a)
  told = direct - problem.rate * pull(v)[0]
  np.testing.assert_allclose(hypergrad.neumann(at, 0), told, rtol=1e-12)


def test_the_difference_nears_the_exact_second_order():
  train_loss, valid_loss, w, a = losses(np.random.default_rng(1))
  sgd = optimizers.sgd(0.5, 0.9, 3e-4, clip=0.1, nesterov=True)
  tx = optimizers.split(sgd, optimizers.adam(0.1, 0.5, 0.999, 1e-3))
  params = {'weights': w, 'alphas': a}
  opt = tx.init(params)

  def virtual(g):
    return optimizers.update(tx, 'weights', g, opt, params)[0]['weights']

  problem = hypergrad.Problem(w, a, train_loss, valid_loss, virtual, 0.5)
  exact = jax.jit(lambda: hypergrad.second_order(problem))()
  size = optimizers.norm(exact)
  near = jax.jit(lambda r: hypergrad.difference(problem, r))

  def error(r):
    apart = jax.tree.map(jnp.subtract, near(r), exact)
    return optimizers.norm(apart) / size

  assert error(1e-6) < 1e-6
  assert error(1e-6) < error(0.01)

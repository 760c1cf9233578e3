"""A2M's gradients and steps against AI-Tech-Research-Lab/AsquaredM.

Their Hessian product is a difference of two gradients, whose limit is ours:
tight against the page's exact form; against what was released, what remains is
the difference's own error, which falls with the square of its length. That
theirs is this difference at our points is shown too, to the last digits. The
option of several steps uphill, which no script there sets, is not built, and
their DARTS-PT, whose alphas go back to the first ones at every step, is not.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('a2m')
EPSILON = float(GOLDEN['grad/epsilon'])
COARSE = 1e-3  # of a difference that long, as a share of the largest entry
TINY = 1e-5  # below which a difference is rounding
CLEAR = 0.1  # of the largest entry: its sign and Adam's step are known
EPOCHS = 100


def problem(alphas, batch=0, method=None, epoch=0):
  """The toy's, at alphas of one kind or two."""

  def valid(w, a):
    z = jnp.concatenate([leaf.ravel() for leaf in a.values()])
    score = GOLDEN['toy/B'][batch] @ z + w
    value = jax.nn.logsumexp(score) - score[GOLDEN['toy/target'][batch]]
    if method is not None:
      value += method.penalty(given.arch(a), None, given.now(epoch, EPOCHS))
    return value

  w = jnp.asarray(GOLDEN['toy/w'])
  return hypergrad.Problem(w, alphas, None, valid, None, None)


def two(tables):
  """By kind."""
  kinds = zip(('normal', 'reduce'), jnp.asarray(tables), strict=True)
  return dict(kinds)


def joined(a):
  """The page's array of two tables, or of one."""
  return np.stack([*a.values()]) if len(a) > 1 else np.asarray(a['cell'])


def gradient(problem, rule='a2m', **numbers):
  """As a search takes it."""
  own = rules.bound(rules.ALPHAS[rule], numbers)
  return own(hypergrad.first_order, problem)


def moved(a, direction, length):
  return jax.tree.map(lambda x, d: x + length * d, a, direction)


def coarse(problem, rho, epsilon):
  """The gradient with a difference of two, and the points it is made of."""

  def at(a):
    return gradient(problem._replace(a=a), 'plain')

  ahead = moved(problem.a, at(problem.a), rho)
  there = at(ahead)
  ends = [moved(ahead, there, s * epsilon) for s in (1, -1)]
  one, other = map(at, ends)
  turn = jax.tree.map(lambda a, b: (a - b) / (2 * epsilon), one, other)
  return moved(there, turn, rho), (problem.a, ahead, *ends)


def share(found, told):
  """The largest difference, of the largest entry."""
  return np.abs(joined(found) - told).max() / np.abs(told).max()


def clear(gradient):
  """Which entries are not near 0, where Adam makes much of any error."""
  return np.abs(gradient) > CLEAR * np.abs(gradient).max()


CASES = [(n, float(rho)) for n, rho in enumerate(GOLDEN['grad/rho'])]


@pytest.mark.parametrize('n, rho', CASES)
def test_the_gradient(n, rho):
  own = problem(two(GOLDEN['toy/alpha']))
  found = gradient(own, rho=rho)
  assert share(found, GOLDEN['grad/exact_H_at_perturbed_point'][n]) < 1e-9
  assert share(gradient(own, 'plain'), GOLDEN['grad/plain']) < 1e-9
  assert share(found, GOLDEN['grad/released'][n]) < COARSE
  # Neither the first order alone, nor a Hessian at the alphas themselves.
  for other in ('at_perturbed_point_only', 'exact_H_at_alpha'):
    assert (share(found, GOLDEN[f'grad/{other}'][n]) < 1e-9) == (rho == 0)
  if rho == 0:
    assert share(found, GOLDEN['grad/plain']) < 1e-9


@pytest.mark.parametrize('n, rho', CASES)
def test_the_released_difference_is_at_our_points(n, rho):
  own = problem(two(GOLDEN['toy/alpha']))
  found, points = coarse(own, rho, EPSILON)
  assert share(found, GOLDEN['grad/released'][n]) < 1e-9
  for point, told in zip(points, GOLDEN['grad/points'][n], strict=True):
    np.testing.assert_allclose(joined(point), told, rtol=0, atol=1e-9)


def test_the_difference_falls_to_the_exact_product():
  own, rho = problem(two(GOLDEN['toy/alpha'])), 0.1
  exact, told = gradient(own, rho=rho), GOLDEN['grad_eps/released_rho0.1']
  lengths = GOLDEN['grad_eps/epsilon']
  for epsilon, expected in zip(lengths, told, strict=True):
    found, _ = coarse(own, rho, epsilon)
    assert share(found, expected) < (1e-8 if epsilon <= TINY else 1e-9)
  far = [share(exact, expected) for expected in told]
  seen = [(e, d) for e, d in zip(lengths, far, strict=True) if e > TINY]
  for (long, more), (short, less) in itertools.pairwise(seen):
    assert 0.5 < more / less / (long / short) ** 2 < 2
  assert min(far) < 1e-8


def descend(rule, gradients=None, **numbers):
  """The alphas after each of the page's steps, and the gradient of each.

  Adam is given the rule's own gradients, or others.
  """
  a = two(GOLDEN['toy/alpha'])
  rates = filling.ALPHAS_RATE, filling.BETA, 0.999, filling.ALPHAS_DECAY
  tx = optimizers.adam(*rates)
  opt = tx.init(a)
  for batch in range(len(GOLDEN['steps/alpha'])):
    grads = gradient(problem(a, batch), rule, **numbers)
    given = grads if gradients is None else two(gradients[batch])
    updates, opt = tx.update(given, opt, a)
    a = optax.apply_updates(a, updates)
    yield joined(a), joined(grads)


def test_steps():
  rho, told = float(GOLDEN['steps/rho']), GOLDEN['steps/grad']
  alphas = GOLDEN['steps/alpha']
  for n, (a, g) in enumerate(descend('a2m', told, rho=rho)):
    np.testing.assert_allclose(a, alphas[n], rtol=0, atol=1e-9)
    assert np.abs(g - told[n]).max() < COARSE * np.abs(told[n]).max()
  # Ours go on from where they are; their DARTS-PT does not.
  ways = [x - GOLDEN['toy/alpha'] for x in (a, GOLDEN['dartspt/alpha'][-1])]
  assert np.abs(ways[0]).max() > np.abs(ways[1]).max()
  sure = np.all([clear(g) for g in told], axis=0)
  for n, (a, _) in enumerate(descend('a2m', rho=rho)):
    atol = (n + 1) * COARSE / CLEAR * filling.ALPHAS_RATE
    np.testing.assert_allclose(a[sure], alphas[n][sure], rtol=0, atol=atol)
  for n, (a, g) in enumerate(descend('plain')):
    told = GOLDEN['steps/alpha_sam_off'][n], GOLDEN['steps/grad_sam_off'][n]
    np.testing.assert_allclose((a, g), told, rtol=0, atol=1e-9)


@pytest.mark.parametrize('n, rho', CASES)
def test_a_first_step_of_adam(n, rho):
  told = GOLDEN['grad/alpha_after_one_step'][n]
  a, _ = next(descend('a2m', GOLDEN['grad/released'][n][None], rho=rho))
  np.testing.assert_allclose(a, told, rtol=0, atol=1e-9)
  a, _ = next(descend('a2m', rho=rho))
  atol, sure = COARSE * filling.ALPHAS_RATE, clear(GOLDEN['grad/released'][n])
  np.testing.assert_allclose(a[sure], told[sure], rtol=0, atol=atol)


PENALISED = [
  ('two_tables', 'two_tables_grad', float(GOLDEN['beta/two_tables_rho'])),
  ('one_table', 'one_table_grad_rho0.01', 0.01),
  ('one_table', 'one_table_grad_rho1e-6', 1e-6),
]


@pytest.mark.parametrize('case, name, rho', PENALISED)
def test_beta_darts_penalty_is_within_each_gradient(case, name, rho):
  """Theirs sums two tables' means, with the epoch's half for a weight."""
  alphas = {'cell': jnp.asarray(GOLDEN['beta/one_table_alpha'])}
  if case == 'two_tables':
    alphas = two(GOLDEN['toy/alpha'])
  most = EPOCHS * len(alphas) / 2
  method = methods.make('beta_darts', {'lam_max': most})
  for n, epoch in enumerate(GOLDEN[f'beta/{case}_epoch']):
    own = problem(alphas, method=method, epoch=int(epoch))
    found, told = gradient(own, rho=rho), GOLDEN[f'beta/{name}'][n]
    assert share(found, told) < COARSE
    assert share(coarse(own, rho, EPSILON)[0], told) < 1e-9
    plain = GOLDEN[f'beta/{case}_grad_sam_off'][n]
    assert share(gradient(own, 'plain'), plain) < 1e-9
    assert (share(found, plain) < 1e-4) == (rho < 1e-5)
    bare = gradient(problem(alphas), rho=rho)
    assert (share(bare, told) > COARSE) == (epoch > 0)

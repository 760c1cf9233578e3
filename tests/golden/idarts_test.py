"""iDARTS's series and steps against MiaoZhang0525/iDARTS, on two problems.

Ours takes the mixed derivative exactly, theirs by a finite difference: on the
quadratic problem, `q`, that is the same up to rounding.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import optimizers
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('idarts')
KINDS = 'q', 'nl'
START = GOLDEN['w0'], GOLDEN['a0']
RATE = float(GOLDEN['gamma'])
SMALL = {'q': len(GOLDEN['K']), 'nl': int(np.sum(GOLDEN['K'] <= 10))}
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-10)
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-8)


def quadratic(i):
  a_, b, c = (GOLDEN[f'q_{x}'][i] for x in ('A', 'B', 'c'))
  return lambda w, a: 0.5 * w @ a_ @ w - w @ (b @ a + c)


def quadratic_valid(w, a):
  p, d, e, m = (GOLDEN[f'q_{x}'] for x in ('P', 'd', 'e', 'M'))
  return 0.5 * (w - d) @ p @ (w - d) + e @ a + 0.5 * a @ m @ a


def error(i, w, a):
  f = jnp.tanh(GOLDEN['nl_X'][i] @ w) @ nn.softmax(a)
  return jnp.mean((f - GOLDEN['nl_Y'][i]) ** 2)


def train(kind, i):
  """The loss of a batch."""
  if kind == 'q':
    return quadratic(i)
  return lambda w, a: error(i, w, a) + 0.05 * w @ w


def valid(kind):
  return quadratic_valid if kind == 'q' else functools.partial(error, -1)


def problem(kind, w, i, a=START[1]):
  rate = jnp.asarray(RATE)
  virtual = None  # no step in thought
  own = train(kind, i), valid(kind), virtual, rate
  return hypergrad.Problem(jnp.asarray(w), jnp.asarray(a), *own)


def found(kind, w, i, **options):
  """The gradient of the alphas, of the method."""
  method = methods.make('idarts', options)
  return jax.jit(lambda: method.hypergrad(problem(kind, w, i)))()


def rest(i, v):
  """At most so much is missing after the most terms, on a batch of `q`."""
  h, b = GOLDEN['q_A'][i], GOLDEN['q_B'][i]
  low, *_, high = np.linalg.eigvalsh(h)
  shrinks = max(abs(1 - RATE * low), abs(1 - RATE * high))
  share = shrinks ** (int(GOLDEN['K'].max()) + 1) / low
  return share * np.linalg.norm(b, 2) * np.linalg.norm(v)


@functools.cache
def inner(kind, nesterov, steps):
  """The weights after each step of ours, and their gradients' norms."""
  decay, clip = (float(GOLDEN[x]) for x in ('weight_decay', 'clip'))
  momentum, norms, path = float(GOLDEN['momentum']), [], []
  params = dict(
    zip(('weights', 'alphas'), map(jnp.asarray, START), strict=True)
  )
  opt = None
  for i in range(steps):
    grads = jax.grad(train(kind, i))(params['weights'], START[1])
    norm = float(optimizers.norm(grads))
    # Theirs clips by the norm + 1e-6, ours by the norm.
    limit = clip * norm / (norm + 1e-6) if norm + 1e-6 > clip else jnp.inf
    sgd = optimizers.sgd(RATE, momentum, decay, limit, nesterov)
    tx = optimizers.split(sgd, optimizers.adam(0.1, 0.5, 0.999, 0.0))
    opt = tx.init(params) if opt is None else opt
    params, opt = optimizers.update(tx, 'weights', grads, opt, params)
    norms.append(norm)
    path.append(np.asarray(params['weights']))
  return np.stack(path), norms


@pytest.mark.parametrize('kind', KINDS)
def test_the_inner_steps(kind):
  path, norms = inner(kind, True, len(GOLDEN[f'{kind}_inner_w']))
  close(path, GOLDEN[f'{kind}_inner_w'])
  close(norms, GOLDEN[f'{kind}_inner_grad_norm'])
  close(path[-1], GOLDEN[f'{kind}_T4_w'])
  path, _ = inner(kind, False, 5)
  close(path[-1], GOLDEN[f'{kind}_1shot1_w_T5'])


@pytest.mark.parametrize('kind', KINDS)
def test_the_gradient_by_the_number_of_terms(kind):
  w = GOLDEN[f'{kind}_T4_w']
  for n, terms in enumerate(GOLDEN['K'][: SMALL[kind]]):
    exact = found(kind, w, 4, terms=int(terms))
    close(exact, GOLDEN[f'{kind}_T4_hypergrad_exact_mixed'][n])
    theirs = GOLDEN[f'{kind}_T4_hypergrad_fd'][n]
    np.testing.assert_allclose(exact, theirs, rtol=1e-3, atol=1e-3)
    if kind == 'q':
      near(exact, theirs)
    if terms == methods.options('idarts')['terms']:
      close(found(kind, w, 4), exact)
      close(GOLDEN[f'{kind}_T4_hypergrad_K2'], theirs)
  if kind == 'q':
    told, left = GOLDEN['q_T4_hypergrad_inverse'], rest(4, GOLDEN['q_T4_v'])
    np.testing.assert_allclose(exact, told, rtol=0, atol=1e-10 + left)


@pytest.mark.parametrize('kind', KINDS)
def test_the_parts_of_the_gradient(kind):
  """Through losses in which one part alone reaches the alphas."""
  w, method = jnp.asarray(GOLDEN[f'{kind}_T4_w']), methods.make('idarts', {})
  own = problem(kind, w, 4)
  v = jax.grad(own.valid)(w, own.a)
  close(v, GOLDEN[f'{kind}_T4_v'])
  direct = method.hypergrad(own._replace(train=lambda w, a: w @ w))
  close(direct, GOLDEN[f'{kind}_T4_val_grad_alpha'])
  mixed = (direct - method.hypergrad(own)) / RATE
  theirs = GOLDEN[f'{kind}_T4_mixed_fd']
  np.testing.assert_allclose(mixed, theirs, rtol=1e-3, atol=1e-3)
  if kind == 'q':
    near(mixed, theirs)
  # A mixed derivative of one gives the sum itself.
  for n, terms in enumerate(GOLDEN['K'][: SMALL[kind]]):
    method = methods.make('idarts', {'terms': int(terms)})
    unit = own._replace(
      a=jnp.zeros(len(w)),
      train=lambda w, a: own.train(w, START[1]) + w @ a,
      valid=lambda w, a: own.valid(w, START[1]),
    )
    total = -method.hypergrad(unit) / RATE
    close(total, GOLDEN[f'{kind}_T4_neumann_sum'][n])


@pytest.mark.parametrize('kind', KINDS)
def test_the_batch_of_a_step_that_was_taken(kind):
  """The control: one inner step, and its own batch again."""
  path, _ = inner(kind, True, 1)
  close(path[0], GOLDEN[f'{kind}_T1_w'])
  told, again = GOLDEN[f'{kind}_T1_hypergrad_K2'], found(kind, path[0], 0)
  np.testing.assert_allclose(again, told, rtol=1e-3, atol=1e-3)
  if kind == 'q':
    near(again, told)
  fresh = found(kind, path[0], 4)
  assert np.abs(fresh - told).max() > 10 * np.abs(again - told).max()


@pytest.mark.parametrize('kind', KINDS)
def test_momentum_without_nesterov_s_form(kind):
  """As on NAS-Bench-1Shot1, but for gradients that theirs do not clear."""
  path, _ = inner(kind, False, 5)
  own = problem(kind, path[-1], 5)
  v = jax.grad(own.valid)(own.w, own.a)
  close(v, GOLDEN[f'{kind}_1shot1_v_clean'])
  assert np.abs(v - GOLDEN[f'{kind}_1shot1_v_accumulated']).max() > 1e-3
  clean, ours = GOLDEN[f'{kind}_1shot1_hypergrad_clean'], found(kind, own.w, 5)
  np.testing.assert_allclose(ours, clean, rtol=1e-3, atol=1e-3)
  if kind == 'q':
    near(ours, clean)
  apart = np.abs(ours - GOLDEN[f'{kind}_1shot1_hypergrad']).max()
  assert apart > 10 * np.abs(ours - clean).max()


@pytest.mark.parametrize('kind', KINDS)
def test_the_notebook_s_weights_do_not_move(kind):
  """And where it puts them back is beside where they were: not so here."""
  np.testing.assert_array_equal(
    GOLDEN[f'{kind}_released_w_at_hypergrad'], START[0]
  )
  told, ours = GOLDEN[f'{kind}_released_hypergrad'], found(kind, START[0], 4)
  np.testing.assert_allclose(ours, told, rtol=1e-3, atol=1e-3)
  own = problem(kind, START[0], 4)
  v = jax.grad(own.valid)(*START)
  close(v, GOLDEN[f'{kind}_released_v'])
  direct = jax.grad(own.valid, 1)(*START)
  mixed = (direct - ours) / RATE
  theirs = GOLDEN[f'{kind}_released_mixed']
  np.testing.assert_allclose(mixed, theirs, rtol=1e-3, atol=1e-3)
  if kind == 'q':
    near(ours, told)
    near(mixed, theirs)
  after = found(kind, inner(kind, True, 4)[0][-1], 4)
  assert np.abs(after - told).max() > 10 * np.abs(ours - told).max()
  for run, at in (('released', START[0]), ('T4', GOLDEN[f'{kind}_T4_w'])):
    name = 'w_after' if run == 'released' else 'w_after_perturbed_restore'
    assert np.abs(GOLDEN[f'{kind}_{run}_{name}'] - at).max() > 1e-4


def test_at_the_optimum_the_series_is_the_gradient_of_the_bilevel_problem():
  batch, star = 4, GOLDEN['q_star_w']
  slope = jax.grad(train('q', batch))(jnp.asarray(star), START[1])
  close(slope, np.zeros_like(star))
  a_, b, c = (GOLDEN[f'q_{x}'][batch] for x in ('A', 'B', 'c'))
  true = jax.grad(lambda a: quadratic_valid(jnp.linalg.solve(a_, b @ a + c), a))
  close(true(START[1]), GOLDEN['q_star_hypergrad_true'])
  for n, terms in enumerate(GOLDEN['K']):
    ours = found('q', star, batch, terms=int(terms))
    close(ours, GOLDEN['q_star_hypergrad_K'][n])
  told = GOLDEN['q_star_hypergrad_true']
  left = rest(batch, jax.grad(quadratic_valid)(jnp.asarray(star), START[1]))
  np.testing.assert_allclose(ours, told, rtol=0, atol=1e-10 + left)


def test_the_alphas_move_after_each_t_steps_of_the_weights():
  method = methods.make('idarts', {})
  now = given.now(0, 1)._replace(step=jnp.arange(12))
  between = np.diff(np.flatnonzero(method.moves(now)))
  assert (between == len(GOLDEN['q_inner_w'])).all()

"""DARTS-ES, DARTS-ADA and the alphas' Hessian against automl/RobustDARTS."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.analysis import hessian
from sdnas_jax.bilevel import optimizers
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('darts_es')
NAME = 'dominant_eigenvalue'
OURS = {
  'es_start_epoch': 'first',
  'mul_factor': 'grow',
  'max_weight_decay': 'max_decay',
  'extra_rollback_epochs': 'extra',
}
ES = json.loads(str(GOLDEN['es_names_json']))
ADA = json.loads(str(GOLDEN['ada_names_json']))


def settings(name):
  """The method's options, and the weights' decay."""
  told = json.loads(str(GOLDEN[f'{name}_settings_json']))
  decay = told.pop('weight_decay', 3e-4)
  return {OURS.get(key, key): x for key, x in told.items()}, decay


def row(e, epochs, every, values):
  """An epoch's metrics; the release looks after the last one too."""
  due = e % every == 0 or e == epochs - 1
  return {NAME: float(values[e])} if due else {}


@pytest.mark.parametrize('name', ES)
def test_early_stopping(name):
  name = f'es_{name}'
  options, decay = settings(name)
  method = methods.make('darts_es', options)
  values, every = (
    GOLDEN[f'{name}_{key}'] for key in ('eigenvalue_by_epoch', 'frequency')
  )
  epochs, metrics, found = len(values), [], None
  for e in range(epochs):
    metrics.append(row(e, epochs, every, values))
    past = given.past(metrics, epochs, weights_decay=decay)
    found = method.revise(past, None, None)
    if found is not None:
      break
  assert (found is not None) == GOLDEN[f'{name}_stopped']
  assert e == GOLDEN[f'{name}_last_trained_epoch']
  stop = e if found is None else found.stop
  assert stop == GOLDEN[f'{name}_genotype_epoch']


def adapted(name):
  """(iteration, epoch, decay, rate) of every epoch, and what triggered."""
  options, decay = settings(name)
  method = methods.make('darts_ada', options)
  values = GOLDEN[f'{name}_eigenvalue_by_iteration_epoch']
  every, epochs = GOLDEN[f'{name}_frequency'], values.shape[1]
  visited, triggers, metrics, iteration = [], [], [], 0
  while len(metrics) < epochs:
    e, own = len(metrics), values[min(iteration, len(values) - 1)]
    rate = optimizers.cosine(filling.LR, 0.001, e, epochs)
    visited.append((iteration + 1, e, decay, rate))
    metrics.append(row(e, epochs, every, own))
    past = given.past(metrics, epochs, weights_decay=decay)
    revision = method.revise(past, None, None)
    if revision is not None:
      triggers.append((e, revision.back + options.get('extra', 0)))
      metrics = metrics[: revision.back + 1]
      decay = revision.rates['weights.decay']
      iteration += 1
  return np.array(visited), np.reshape(triggers, (-1, 2))


@pytest.mark.parametrize('name', ADA)
def test_going_back(name):
  name = f'ada_{name}'
  visited, triggers = adapted(name)
  told = f'{name}_rolledback'
  expected = GOLDEN[f'{told}_visited_iteration_epoch_wd_lr']
  np.testing.assert_allclose(visited, expected, rtol=1e-12)
  for n, key in enumerate(('trigger_epoch', 'stop_epoch')):
    np.testing.assert_array_equal(triggers[:, n], GOLDEN[f'{told}_{key}'])
  starts = np.flatnonzero(np.diff(visited[:, 0], prepend=0))
  firsts = GOLDEN[f'{told}_first_epoch_of_iteration']
  np.testing.assert_array_equal(visited[starts, 1], firsts)
  decays = GOLDEN[f'{told}_weight_decay_of_iteration']
  np.testing.assert_allclose(visited[starts, 2], decays, rtol=1e-12)
  last = GOLDEN[f'{told}_final_genotype_iteration_epoch']
  np.testing.assert_array_equal(visited[-1, :2], last)


def test_the_release_remembers_what_it_went_back_from():
  differing = 0
  for name in ADA:
    own, theirs = (
      GOLDEN[f'ada_{name}_{how}_visited_iteration_epoch_wd_lr']
      for how in ('rolledback', 'released')
    )
    if not np.array_equal(own, theirs):
      assert not np.array_equal(adapted(f'ada_{name}')[0], theirs)
      differing += 1
  assert differing


def test_the_hessian():
  at = {k: GOLDEN[f'hessian_alpha_{k}'] for k in ('normal', 'reduce')}
  v, u, K = (jnp.asarray(GOLDEN[f'hessian_{x}']) for x in 'vuK')
  decay = GOLDEN['hessian_arch_weight_decay']

  def loss(alphas):
    a, b = (jax.nn.softmax(x).ravel() for x in alphas.values())
    squares = sum(jnp.sum(x**2) for x in alphas.values())
    own = jnp.vdot(v, a) ** 3 + jnp.exp(jnp.vdot(u, b)) + a @ K @ b
    return own + decay / 2 * squares

  times, n = hessian.linear(loss, at)
  found = jax.lax.map(times, jnp.eye(n))
  np.testing.assert_allclose(found, GOLDEN['hessian_H'], rtol=0, atol=1e-9)
  top, key = GOLDEN['hessian_dominant_eigenvalue'], jax.random.key(0)
  assert np.linalg.eigvalsh(found)[-1] == pytest.approx(top, rel=1e-9)
  found = hessian.dominant(times, n, key, n)
  assert found == pytest.approx(top, rel=1e-6)

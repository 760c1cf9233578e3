"""Shapley-NAS's estimates, updates, schedule and sizes against the release.

Their random permutations and batches are given; the accuracy is the page's
stand-in. Not ours: estimates by running statistics in every other epoch, pools
without normalisation, which has no parameters in the supernet.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import search_shapley_nas
from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods import contribution
from sdnas_jax.networks import columns
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('shapley_nas')
SPACE = SPACES['darts']
NAMES = [str(name) for name in GOLDEN['set/primitives']]
COLUMNS = [SPACE.primitives.index(name) for name in NAMES]
EDGES = len(SPACE.edges)
METHOD = methods.make('shapley_nas', {})
EPOCHS, WARMUP = (
  int(GOLDEN[f'set/{n}']) for n in ('epochs', 'pretrain_epochs')
)


def close(got, expected):
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def wide(tables):
  """[kinds, edges, 7] of all operations."""
  found = {}
  for kind, table in zip(SPACE.kinds, tables, strict=True):
    found[kind] = np.zeros(SPACE.shape)
    found[kind][:, COLUMNS] = table
  return found


def narrow(tables):
  return np.stack(
    [np.asarray(tables[kind])[:, COLUMNS] for kind in SPACE.kinds]
  )


# Our number of each of their players, of those alive.
KEPT = [c for c in range(len(SPACE.primitives)) if c in COLUMNS]
OURS = np.array(
  [
    len(NAMES) * row + KEPT.index(column)
    for row in range(2 * EDGES)
    for column in COLUMNS
  ]
)


def accuracy(mix, offset):
  w = np.stack([mix[kind][:, COLUMNS] for kind in SPACE.kinds])
  per_edge = np.tanh((GOLDEN['mock/C'] * w).sum(axis=-1))
  z = offset + (GOLDEN['mock/a'] * per_edge).sum()
  return 100 / (1 + np.exp(-z))


def first(alphas, sums):
  arch = METHOD.init(np.random.default_rng(0), given.net(SPACE), 1.0)
  own = arch.own | {'sums': wide(sums)}
  return arch._replace(alphas=wide(alphas), own=own)


def estimated(method, arch, n, calls):
  """The revision before epoch WARMUP + n, by the page's orders."""
  orders = OURS[GOLDEN['mock/permutations'][n]]

  def look(mix, part, size):
    calls.append((part, size))
    for kind in SPACE.kinds:  # the channels that pass by
      np.testing.assert_array_equal(mix[kind][:, len(SPACE.primitives)], 1)
      assert not mix[kind][:, SPACE.primitives.index('none')].any()
    seen.append(accuracy(mix, GOLDEN['mock/offset'][n, part]))
    return seen[-1]

  seen, tables, table = [], [], contribution.table

  def watched(*args):
    tables.append(table(*args))
    return tables[-1]

  past = given.past([{}] * (WARMUP + n), EPOCHS)
  with (
    mock.patch.object(contribution, 'orders', lambda *_: orders),
    mock.patch.object(contribution, 'table', watched),
  ):
    revision = method.revise(past, arch, look)
  return revision.arch, tables[0][OURS], seen


def parts(calls, seen):
  """First and last accuracies, and how many removals, of each order."""
  part = np.array([part for part, _ in calls])
  own = [np.array(seen)[part == j] for j in range(part.max() + 1)]
  return [[s[0] for s in own], [s[-1] for s in own], [len(s) - 1 for s in own]]


def test_three_estimates_and_updates_in_a_row():
  told = {
    k.removeprefix('cifar/'): v for k, v in GOLDEN.items() if 'cifar/' in k
  }
  arch = first(told['alpha'][0], told['accum'][0])
  share = float(GOLDEN['set/shapley_momentum'])
  for n, table in enumerate(told['table']):
    calls, sums = [], narrow(arch.own['sums'])
    arch, values, seen = estimated(METHOD, arch, n, calls)
    assert all(size == GOLDEN['set/valid_batch'] for _, size in calls)
    start, end, removals = parts(calls, seen)
    close(start, told['first_accuracy'][n])
    close(end, told['last_accuracy'][n])
    np.testing.assert_array_equal(removals, told['removals'][n])
    close(values, table)
    raw = contribution.pessimistic(values)
    close(raw, told['shapley_raw'][n].ravel())
    close(narrow(arch.alphas), told['alpha'][n + 1])
    close(narrow(arch.own['sums']), told['accum'][n + 1])
    standard = (narrow(arch.own['sums']) - share * sums) / (1 - share)
    close(standard, told['shapley_standardised'][n])
  v = told['shapley_raw']
  deviation = v.std(axis=(2, 3), keepdims=True)  # of n, not n - 1
  wrong = (v - v.mean(axis=(2, 3), keepdims=True)) / deviation
  assert np.abs(wrong - told['shapley_standardised']).max() > 1e-6


@pytest.mark.parametrize('name', ['cifar', 'imagenet'])
def test_an_estimate_to_the_end(name):
  page = f'{name}_never_truncated'
  method = methods.make(
    'shapley_nas', {'threshold': 0.0, 'last': name == 'imagenet'}
  )
  arch, calls = (
    first(GOLDEN[f'{page}/alpha'][0], GOLDEN[f'{page}/accum'][0]),
    [],
  )
  arch, values, seen = estimated(method, arch, 0, calls)
  start, end, removals = parts(calls, seen)
  close(start, GOLDEN[f'{page}/first_accuracy'][0])
  close(end, GOLDEN[f'{page}/last_accuracy'][0])
  np.testing.assert_array_equal(removals, GOLDEN[f'{page}/removals'][0])
  raw = contribution.pessimistic(values)
  close(raw, GOLDEN[f'{page}/shapley_raw'][0].ravel())
  close(narrow(arch.alphas), GOLDEN[f'{page}/alpha'][1])
  close(narrow(arch.own['sums']), GOLDEN[f'{page}/accum'][1])
  counts = GOLDEN['count/players'], GOLDEN['count/max_evaluations_per_epoch']
  assert (len(values), len(calls)) == counts
  other = {'cifar': 'imagenet', 'imagenet': 'cifar'}[name]
  there = GOLDEN[f'{other}_never_truncated/alpha'][1]
  assert np.abs(narrow(arch.alphas) - there).max() > 1e-6


def test_at_the_threshold_it_goes_on():
  orders, (kinds, *shape) = (
    GOLDEN['tie/permutations'],
    GOLDEN['tie/shapley_raw'].shape,
  )
  mask = {str(n): np.ones(shape, bool) for n in range(kinds)}
  mix = {kind: np.ones(shape) for kind in mask}
  count, calls = orders.shape[1], []

  def look(mix, n):
    calls.append(80.0 - 10 * (count - sum(map(np.sum, mix.values()))))
    return calls[-1]

  values = contribution.table(
    *(mix, mask, orders, look), float(GOLDEN['set/threshold'])
  )
  close(values, GOLDEN['tie/table'])
  close(calls, GOLDEN['tie/calls'])
  raw = contribution.pessimistic(values)
  close(raw, GOLDEN['tie/shapley_raw'].ravel())


def test_when_it_estimates():
  """And at which rate the weights learn."""
  arch = METHOD.init(np.random.default_rng(0), given.net(SPACE), 1e-3)
  made = methods.make('shapley_nas', {'samples': 1})
  when = [
    t
    for t in range(EPOCHS + 1)
    if made.revise(given.past([{}] * t, EPOCHS), arch, lambda *_: 1.0)
  ]
  np.testing.assert_array_equal(when, GOLDEN['sched/estimate_epochs'])
  assert not np.any(METHOD.moves(given.now(WARMUP, EPOCHS)))
  config = search_shapley_nas.get_config()
  schedule = optimizers.SCHEDULES[config.weights.schedule]
  rates = [
    schedule(config.weights.lr, config.weights.lr_min, e, EPOCHS)
    for e in range(EPOCHS)
  ]
  close(rates, GOLDEN['sched/lr_w'])
  options = methods.options('shapley_nas')
  ours = {
    **{'epochs': config.epochs, 'pretrain_epochs': options['warmup'] * EPOCHS},
    **{'batch': config.batch_size, 'valid_batch': options['images']},
    **{'lr': config.weights.lr, 'lr_min': config.weights.lr_min},
    **{'momentum': config.weights.momentum, 'clip': config.weights.clip},
    'weight_decay': config.weights.decay,
    **{'samples': options['samples'], 'threshold': options['threshold']},
    'shapley_momentum': options['momentum'],
    **{'step_size': options['step'], 'k': options['k']},
    **{'channels': config.model.channels, 'layers': config.model.layers},
  }
  for name, value in ours.items():
    assert value == GOLDEN[f'set/{name}'], name


def test_sizes():
  k = METHOD.model['partial']
  net = supernet.Supernet(SPACE, 10, partial=k)
  mix = {
    kind: np.ones((EDGES, columns.count(net)), np.float32)
    for kind in SPACE.kinds
  }
  params = sizing.shapes(net, (32, 32, 3), mix)['params']
  assert (
    sizing.size(params) == GOLDEN[f'count/params_C16_L8_k{k}_without_alpha']
  )


def test_genotypes():
  alphas = np.stack([GOLDEN[f'geno/alpha_{kind}'] for kind in SPACE.kinds])
  arch = first(alphas, alphas)
  # Where theirs has `none` not at all, here it is masked.
  mix = {k: np.asarray(p) for k, p in METHOD.relax(arch, None).items()}
  found = METHOD.discretize(SPACE, arch, mix)
  for kind, graph in found.graphs.items():
    told = np.array(
      [[NAMES.index(op), i] for node in graph.nodes for op, i in node]
    )
    np.testing.assert_array_equal(told, GOLDEN[f'geno/{kind}'])


def test_the_clip_is_of_the_weights_alone():
  """Theirs counts the alphas' gradient, which grows: other weights."""
  x, y, alpha = (jnp.asarray(GOLDEN[f'loop/{n}']) for n in ('x', 'y', 'alpha'))
  clip, lr = float(GOLDEN['loop/clip']), float(GOLDEN['loop/lr'])
  decay, momentum = (
    float(GOLDEN[f'set/{n}']) for n in ('weight_decay', 'momentum')
  )

  @jax.grad
  def gradient(params, n):
    p = jax.nn.softmax(params['alphas'])
    logits = jnp.einsum('o,bi,oij->bj', p, x[n], params['weights'])
    own = optax.softmax_cross_entropy_with_integer_labels(logits, y[n])
    return own.mean()

  def trained(joint):
    params = {'weights': jnp.asarray(GOLDEN['loop/W0']), 'alphas': alpha}
    limit = jnp.inf if joint else clip
    tx = optimizers.sgd(lr, momentum, decay, limit)
    opt, buffer, found = tx.init(params['weights']), jnp.zeros(alpha.shape), []
    for n in range(len(x)):
      grads = gradient(params, n)
      buffer += grads['alphas']
      own = {'weights': grads['weights'], 'alphas': buffer}
      if joint:
        norm = optimizers.norm(own)
        share = jnp.minimum(1.0, clip / (norm + 1e-6))
        own = jax.tree.map(lambda g, s=share: s * g, own)
        buffer = own['alphas']
        close(norm, GOLDEN['loop/clipnorm_joint'][n])
        close(buffer, GOLDEN['loop/alpha_grad_buffer_after_clip'][n])
      updates, opt = tx.update(own['weights'], opt, params['weights'])
      w = optax.apply_updates(params['weights'], updates)
      params = {**params, 'weights': w}
      found.append(w)
    return np.array(found)

  close(trained(joint=True), GOLDEN['loop/W'])
  assert np.abs(trained(joint=False) - GOLDEN['loop/W']).max() > 1e-6

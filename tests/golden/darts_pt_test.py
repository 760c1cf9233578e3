"""DARTS-PT's decisions by accuracy against ruocwang/darts-pt.

Their other criterion, the loss, is not ours.
"""

import json

import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.methods import removal
from sdnas_jax.spaces import SPACES
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('darts_pt')
DARTS, TABULAR = SPACES['darts'], SPACES['nasbench201']
OPS = json.loads(str(GOLDEN['ops_json']))
COLUMNS = [DARTS.primitives.index(name) for name in OPS]


def mock(name):
  return GOLDEN[f'mock_{name}']


def accuracy(mix):
  """The page's, of both tables."""
  w = {kind: np.asarray(mix[kind])[:, COLUMNS] for kind in DARTS.kinds}
  for kind in w:
    assert not mix[kind][:, DARTS.primitives.index('none')].any()
  total, rows = 60.0, {}
  for kind, own in w.items():
    a = rows[kind] = (mock(f'U_{kind}') * own).sum(axis=1)
    total += (mock(f'A_{kind}') * own).sum() + a @ mock(f'Q_{kind}') @ a
  return total + rows['normal'] @ mock('M') @ rows['reduce']


def first(space):
  """An architecture before the second stage."""
  seed = int(GOLDEN['numpy_seed'])
  method = methods.make('darts_pt', {'decide': True, 'seed': seed})
  arch = method.init(np.random.default_rng(0), given.net(space), 0.0)
  return method, arch


def wide(table):
  """Of all operations."""
  alphas = np.zeros((len(table), len(DARTS.primitives)))
  alphas[:, COLUMNS] = table
  return alphas


def decided(space, epochs, alphas, look):
  """(epoch, masks before, masks after, what was seen) of each decision."""
  method, arch = first(space)
  decisions = []
  for t in range(epochs + 1):
    arch, seen = arch._replace(alphas=alphas(t)), []

    def watched(mix, seen=seen):
      seen.append(look(mix))
      return seen[-1]

    past = given.past([{}] * t, epochs)
    revision = method.revise(past, arch, watched)
    if revision is not None:
      decisions.append((t, arch.mask, revision.arch.mask, seen))
      arch = revision.arch
  return method, arch, decisions


def epochs_and_rate(space):
  """Of the second stage."""
  stage = methods.make('darts_pt', {}).stages(space)[1]
  assert stage['weights.lr'] == stage['weights.lr_min']
  return stage['epochs'], stage['weights.lr']


def changed(before, after):
  """The edge decided by a decision about operations, and its operation."""
  (edge,) = np.flatnonzero((before != after).any(axis=1))
  (choice,) = np.flatnonzero(after[edge])
  return edge, choice


def test_a_search_in_darts_s_space():
  epochs, rate = epochs_and_rate(DARTS)
  np.testing.assert_allclose(
    GOLDEN['acc_lr_by_tune_epoch'], np.full(epochs, rate), rtol=1e-12
  )

  def alphas(t):
    return {
      k: wide(mock(f'alpha0_{k}') + t * mock(f'drift_{k}')) for k in DARTS.kinds
    }

  method, arch, decisions = decided(DARTS, epochs, alphas, accuracy)
  for order, kind in enumerate(DARTS.kinds):
    told = {
      name.removeprefix(f'acc_{kind}_'): x
      for name, x in GOLDEN.items()
      if name.startswith(f'acc_{kind}_')
    }
    count = len(told['op_epochs'])
    when = np.concatenate([told['op_epochs'], told['topology_epochs']])
    np.testing.assert_array_equal([t for t, *_ in decisions], when)
    for n, (_, before, after, seen) in enumerate(decisions[:count]):
      edge, choice = changed(before[kind], after[kind])
      assert edge == told['op_edges'][n]
      assert choice == COLUMNS[told['op_choices'][n]]
      own = seen[order * len(OPS) : (order + 1) * len(OPS)]
      np.testing.assert_allclose(own, told['op_accuracies'][n], atol=1e-9)
    for n, (_, before, after, _) in enumerate(decisions[count:]):
      lost = before[kind].any(axis=1) & ~after[kind].any(axis=1)
      (node,) = {DARTS.edges[e][1] for e in np.flatnonzero(lost)}
      assert node - DARTS.targets[1] == told['topology_nodes'][n]
      kept = [e for e in DARTS.entering(node) if after[kind][e].any()]
      np.testing.assert_array_equal(kept, told['topology_kept_edges'][n])
    mix = np.asarray(method.relax(arch, None)[kind])
    np.testing.assert_array_equal(mix[:, COLUMNS], told['final_weights'])
  found = method.discretize(DARTS, arch, method.relax(arch, None))
  assert given.listed(found) == json.loads(str(GOLDEN['acc_genotype_json']))


def test_the_accuracies_seen_of_nodes():
  """Theirs goes edge by edge, and begins anew after each; ours once."""
  epochs, _ = epochs_and_rate(DARTS)

  def alphas(t):
    return {
      k: wide(mock(f'alpha0_{k}') + t * mock(f'drift_{k}')) for k in DARTS.kinds
    }

  _, _, decisions = decided(DARTS, epochs, alphas, accuracy)
  told = [
    json.loads(str(GOLDEN[f'acc_{kind}_topology_accuracies_json']))
    for kind in DARTS.kinds
  ]
  for (*_, seen), *each in zip(decisions[-len(told[0]) :], *told, strict=True):
    nodes = [DARTS.targets[1:].index(n) for n in map(edges_of, each)]
    size = [len(DARTS.entering(DARTS.targets[1:][n])) for n in nodes]
    expected = np.concatenate([x[:n] for x, n in zip(each, size, strict=True)])
    np.testing.assert_allclose(seen, expected, atol=1e-9)


def edges_of(values):
  """The node with n + (n - 1) + ... + 3 looks."""
  sizes = {sum(range(3, node + 1)): node for node in DARTS.targets}
  return sizes[len(values)]


def test_a_search_in_nas_bench_201_s_space():
  epochs, rate = epochs_and_rate(TABULAR)
  np.testing.assert_allclose(
    GOLDEN['nb201_lr_by_tune_epoch'], np.full(epochs, rate), rtol=1e-12
  )
  (kind,) = TABULAR.kinds

  def look(mix):
    w = np.asarray(mix[kind])
    a = (GOLDEN['nb201_mock_U'] * w).sum(axis=1)
    own = (GOLDEN['nb201_mock_A'] * w).sum()
    return 50 + own + a @ GOLDEN['nb201_mock_Q'] @ a

  def alphas(t):
    return {kind: GOLDEN['nb201_mock_alpha0'] + t * GOLDEN['nb201_mock_drift']}

  method, arch, decisions = decided(TABULAR, epochs, alphas, look)
  when = [t for t, *_ in decisions]
  np.testing.assert_array_equal(when, GOLDEN['nb201_epochs'])
  for n, (_, before, after, seen) in enumerate(decisions):
    edge, choice = changed(before[kind], after[kind])
    assert edge == GOLDEN['nb201_edges'][n]
    assert choice == GOLDEN['nb201_ops'][n]
    np.testing.assert_allclose(seen, GOLDEN['nb201_accuracies'][n], atol=1e-9)
  mix = {k: np.asarray(x) for k, x in method.relax(arch, None).items()}
  found = method.discretize(TABULAR, arch, mix)
  assert found.architecture == GOLDEN['nb201_architecture']


def test_of_equal_operations_the_first_is_kept():
  _, arch = first(DARTS)
  (kind, *_), chosen = DARTS.kinds, []
  for values in GOLDEN['tie_op_acc_values']:
    mask = arch.mask[kind].copy()
    mask[1:] = np.arange(mask.shape[1]) == COLUMNS[0]
    own = arch._replace(mask=arch.mask | {kind: mask})

    def look(mix, values=values):
      return values[np.flatnonzero(mix[kind][0, COLUMNS] == 0)[0]]

    after = removal.decided(kind, own, look, seed=0).mask[kind]
    chosen.append(COLUMNS.index(changed(mask, after)[1]))
  np.testing.assert_array_equal(chosen, GOLDEN['tie_op_acc_choice'])


@pytest.mark.parametrize('node', DARTS.targets[1:])
def test_of_equal_edges_the_first_are_kept(node):
  _, arch = first(DARTS)
  kind, column = DARTS.kinds[0], node - DARTS.targets[1]
  mask = np.tile(np.arange(DARTS.shape[1]) == COLUMNS[0], (DARTS.shape[0], 1))
  own = arch.own | {'pruned': np.array([node])}
  arch = arch._replace(mask=arch.mask | {kind: mask}, own=own)
  for values, told in zip(
    GOLDEN['tie_edge_acc_values'], GOLDEN['tie_edge_acc_kept'], strict=True
  ):

    def look(mix, values=values):
      return 50 - values[np.flatnonzero(~mix[kind].any(axis=1))[0]]

    after = removal.decided(kind, arch, look, seed=0).mask[kind]
    kept = [e for e in DARTS.entering(node) if after[e].any()]
    np.testing.assert_array_equal(kept, told[2 * column : 2 * column + 2])

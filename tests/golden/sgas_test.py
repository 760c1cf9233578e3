"""SGAS's criteria, decisions and schedules against lightaime/sgas."""

import json

import numpy as np
import pytest

from configs import search_sgas
from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods.criteria import certainty
from sdnas_jax.methods.criteria import importance
from sdnas_jax.methods.criteria import score
from sdnas_jax.methods.criteria import softmax
from sdnas_jax.methods.criteria import stability
from sdnas_jax.spaces import SPACES
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('sgas')
SPACE = SPACES['darts']
RUNS = ['crit1', 'crit2', 'crit2_freq7']
TOLERANCE = {'rtol': 0, 'atol': 1e-10}


def options(run):
  """The method's, as the run has them."""
  epochs = GOLDEN[f'{run}_normal_decision_epochs']
  return {
    'criterion': int(run[4]),
    'warmup': int(epochs[0]),
    'interval': int(epochs[1] - epochs[0]),
  }


def search(run):
  """After each epoch, the architecture and all tables until then."""
  method = methods.make('sgas', options(run))
  arch = method.init(np.random.default_rng(0), given.net(SPACE), 0.0)
  epochs, seen = int(GOLDEN[f'{run}_num_epochs']), []
  for e in range(epochs):
    moved = {k: GOLDEN[f'alpha_proposed_{k}'][e] for k in SPACE.kinds}
    alphas = method.settle(None, arch, moved, given.now(e, epochs))
    arch = arch._replace(alphas={k: np.asarray(a) for k, a in alphas.items()})
    seen.append(arch.alphas)
    tables = {k: np.stack([a[k] for a in seen]) for k in SPACE.kinds}
    past = given.past([{}] * (e + 1), epochs, tables)
    revision = method.revise(past, arch, None)
    if revision is not None:
      arch = revision.arch
    yield method, arch, tables


def state(alive):
  """-1 for edges undecided, 0 for those pruned, else what was chosen."""
  count = alive.sum(axis=-1)
  return np.where(count > 1, -1, np.where(count, alive.argmax(axis=-1), 0))


@pytest.mark.parametrize('run', RUNS)
def test_decisions(run):
  frozen = {kind: np.zeros(len(SPACE.edges), int) for kind in SPACE.kinds}
  for e, (method, arch, _) in enumerate(search(run)):
    for kind in SPACE.kinds:
      found = state(arch.mask[kind])
      told = GOLDEN[f'{run}_{kind}_selected_idx_by_epoch'][e]
      np.testing.assert_array_equal(found, told)
      frozen[kind] += found < 0
    name = f'{run}_forced_genotype_epoch{e}_json'
    if name in GOLDEN:
      found = method.discretize(SPACE, arch, method.relax(arch, None))
      assert given.listed(found) == json.loads(str(GOLDEN[name]))
  for kind in SPACE.kinds:
    told = GOLDEN[f'{run}_{kind}_frozen_from_epoch']
    np.testing.assert_array_equal(frozen[kind], told)
    if f'{run}_{kind}_alpha_final' in GOLDEN:
      told = GOLDEN[f'{run}_{kind}_alpha_final']
      np.testing.assert_array_equal(arch.alphas[kind], told)
  found = method.discretize(SPACE, arch, method.relax(arch, None))
  told = json.loads(str(GOLDEN[f'{run}_genotype_json']))
  assert given.listed(found) == told


@pytest.mark.parametrize('run', RUNS[:2])
def test_scores(run):
  memory = 'crit2' in run and methods.options('sgas')['history']
  for e, (_, _, tables) in enumerate(search(run)):
    for kind in SPACE.kinds:
      p = softmax(tables[kind][-1])
      before = tables[kind][-1 - memory : -1] if memory else None
      found = {'importance': importance(p), 'certainty': certainty(p)}
      if memory:
        found['stability'] = stability(p, before)
      # At the end all rows rest: their stability is 1 up to rounding.
      frozen = GOLDEN[f'{run}_{kind}_frozen_from_epoch'].max()
      if not memory or e <= frozen:
        found['score'] = score(p, before)
      for name, values in found.items():
        told = GOLDEN[f'{run}_{kind}_{name}_by_epoch'][e]
        np.testing.assert_allclose(values, told, **TOLERANCE)


@pytest.mark.parametrize('run', RUNS)
def test_the_learning_rate_is_an_epoch_early(run):
  epochs = int(GOLDEN[f'{run}_num_epochs'])
  e, told = np.arange(epochs), GOLDEN[f'{run}_lr_by_epoch']
  weights = search_sgas.get_config().weights
  ends = weights.lr, weights.lr_min
  found = optimizers.SCHEDULES[weights.schedule](*ends, e, epochs)
  np.testing.assert_allclose(found, told, rtol=1e-12)
  usual = optimizers.cosine(*ends, e, epochs)
  assert np.abs(usual - told).max() > 1e-4


@pytest.mark.parametrize('run', RUNS[:2])
def test_the_batch_grows_after_a_decision(run):
  config = search_sgas.get_config()
  found = [
    size
    for stage in config.stages
    for size in [stage.get('batch_size', config.batch_size)] * stage['epochs']
  ]
  for told in GOLDEN[f'{run}_batch_size_by_epoch'].T:
    np.testing.assert_array_equal(found, told)

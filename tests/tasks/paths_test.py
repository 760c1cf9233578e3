"""Searches of paths: two stages, resumed wherever they stop."""

import itertools
import json

import jax
import numpy as np
import pytest

from sdnas_jax.runs import artifacts
from sdnas_jax.runs import checkpoints
from sdnas_jax.runs import record
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import search
from tests import toys
from tests.tasks import between_test


class Killed(BaseException):
  """As a process is, at any moment."""


@pytest.fixture(autouse=True)
def known(monkeypatch):
  monkeypatch.setitem(SPACES, 'toy', toys.SPACE)
  monkeypatch.setattr(record.Record, '_draw', lambda self: None)
  monkeypatch.setattr(search.report, 'write', lambda workdir: None)


def config(**change):
  change = {'epochs': 2, 'distill.weight': 0.0, **change}
  own = between_test.config('spos', **change)
  own.options.population, own.options.generations = 6, 3
  return own


def left(workdir):
  return between_test.left(workdir)


def test_the_last_stage_decides_and_gives_statistics(tmp_path):
  search.run(config(), tmp_path, False)
  rows, told, result, *_ = left(tmp_path)
  assert [row['epoch'] for row in rows] == ['0', '1', '2']
  (decision,) = told
  assert decision['epochs'] == 2
  genotype = json.loads((tmp_path / 'genotype.json').read_text())
  assert result['genotype'] == genotype
  for kind, alive in decision['alive'].items():
    pairs = {
      (toys.SPACE.primitives[o], toys.SPACE.edges[e][0])
      for e, o in np.argwhere(alive)
    }
    assert pairs == {tuple(pair) for pair in genotype[kind]}
  # The last epoch is validated by the path's own statistics; no weight moves.
  kept = checkpoints.Checkpoints(tmp_path / 'checkpoints')
  assert kept.place.stage == 1
  plan = search.stages.plan(config(), toys.SPACE)
  source = search.sources.find('digits', '')
  stage = search.begin(plan[1], toys.SPACE, source, 32)
  state = kept.latest(jax.eval_shape(stage.first))
  assert int(state.step) == 2 and float(state.rates['weights.lr']) == 0


def test_a_killed_search_finds_the_same(tmp_path, monkeypatch):
  """Killed before each checkpoint, of which one is made after it decided."""
  search.run(config(), tmp_path / 'whole', False)
  expected = left(tmp_path / 'whole')
  save = checkpoints.Checkpoints.save

  def dying(self, state, **where):
    if next(saves) == at:
      raise Killed
    save(self, state, **where)

  for at in (1, 2, 3):
    saves, workdir = itertools.count(), tmp_path / f'{at}'
    monkeypatch.setattr(checkpoints.Checkpoints, 'save', dying)
    with pytest.raises(Killed):
      search.run(config(), workdir, False)
    monkeypatch.setattr(checkpoints.Checkpoints, 'save', save)
    search.run(config(), workdir, False)
    assert left(workdir) == expected


def test_weights_stand_still_in_the_last_stage(tmp_path, monkeypatch):
  """It begins and ends with the same ones, whose statistics move."""
  states, save = {}, checkpoints.Checkpoints.save

  def watched(self, state, **where):
    states[where['stage'], int(state.epoch)] = jax.device_get(
      (state.params['weights'], state.stats)
    )
    save(self, state, **where)

  monkeypatch.setattr(checkpoints.Checkpoints, 'save', watched)
  search.run(config(**{'distill.weight': 1.0}), tmp_path, False)
  before, after = states[1, 0], states[1, 1]
  jax.tree.map(np.testing.assert_array_equal, before[0], after[0])
  pairs = zip(*map(jax.tree.leaves, (before[1], after[1])), strict=True)
  assert any(not np.array_equal(a, b) for a, b in pairs)
  assert artifacts.read_rows(tmp_path / 'metrics.csv')

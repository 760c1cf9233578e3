"""What methods change between epochs: it is done, resumed and told."""

import functools
import itertools
import json

import jax
import numpy as np
import pytest

from configs import search_digits
from sdnas_jax import methods
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.method import Method
from sdnas_jax.methods.method import Revision
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import checkpoints
from sdnas_jax.runs import record
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import search
from tests import toys

DECAY = 'weights.decay'


class Killed(BaseException):
  """As a process is, at any moment."""


def wandering() -> Method:
  """Uses all that a revision may do, once each."""

  def init(rng, net, scale):
    arch = methods.method.normal(rng, net, scale)
    return arch._replace(own=np.float32(-1))

  def revise(history, arch, look):
    done, decay = len(history.metrics), history.rates[DECAY]
    if done == 0:  # the accuracy of the first weights, to be remembered
      mix = jax.device_get(archs.softmax(arch, None))
      return Revision(arch=arch._replace(own=np.float32(look(mix))))
    if done == 1:  # an operation dies, and a whole edge
      mask = {k: m.copy() for k, m in arch.mask.items()}
      mask['normal'][1, 2] = mask['reduce'][0] = False
      return Revision(arch=arch._replace(mask=mask))
    if done == 3 and decay < 1e-2:
      return Revision(back=1, rates={DECAY: 2e-2})
    if done == 4:
      return Revision(stop=2)
    return None

  return Method(init=init, revise=revise, reach=2)


@pytest.fixture(autouse=True)
def known(monkeypatch):
  monkeypatch.setitem(methods.METHODS, 'wandering', wandering)
  monkeypatch.setitem(SPACES, 'toy', toys.SPACE)
  # What is drawn takes most of such a run's time.
  monkeypatch.setattr(record.Record, '_draw', lambda self: None)
  monkeypatch.setattr(search.report, 'write', lambda workdir: None)
  methods._made.cache_clear()


def config(method='wandering', **change):
  own = search_digits.get_config()
  own.space, own.method, own.epochs, own.batch_size = 'toy', method, 6, 16
  own.data.examples, own.distill.warmup, own.steps_per_call = 64, 1, 1
  own.model.channels = 2
  own.update_from_flattened_dict(change)
  return own


def left(workdir):
  """What a run has left, but for the clock."""
  rows = artifacts.read_rows(workdir / 'metrics.csv')
  clock = 'seconds', 'images_per_second'
  rows = [{k: v for k, v in r.items() if k not in clock} for r in rows]
  told = artifacts.read_lines(workdir / 'revisions.jsonl')
  for revision in told:
    for row in revision.get('abandoned', ()):
      for name in clock:
        del row[name]
  result = json.loads((workdir / 'result.json').read_text())
  del result['seconds']
  arrays = artifacts.read_arrays(workdir / 'alphas.npz')
  found = artifacts.read_lines(workdir / 'genotypes.jsonl')
  alphas = {name: array.tolist() for name, array in arrays.items()}
  return rows, told, result, alphas, found


@functools.cache
def whole(folder):
  search.run(config(), folder, False)
  return left(folder)


def test_all_that_a_revision_may_do(tmp_path):
  rows, told, result, alphas, found = whole(tmp_path / 'run')
  first, dead, back, stop = told
  assert [r['epochs'] for r in told] == [0, 1, 3, 4]
  assert not any(dead['alive']['reduce'][0]) and first['rates'] == {}
  assert dead['alive']['normal'][1] == [True, True, False, True]
  # It went back to the end of the second epoch, and the third was run again
  # with another decay.
  assert back['back'] == 1 and back['genotype'] == found[1]
  assert [row['epoch'] for row in back['abandoned']] == ['2']
  assert back['abandoned'][0]['train_loss'] != rows[2]['train_loss']
  assert [row['epoch'] for row in rows] == ['0', '1', '2', '3']
  assert stop['stop'] == result['genotype_epoch'] == 2
  assert len(alphas['epoch']) == len(found) == 4
  assert json.loads((tmp_path / 'run/genotype.json').read_text()) == found[2]
  state = checkpoints.Checkpoints(tmp_path / 'run/checkpoints')
  assert state.place == (0, 4, True, 4)


def test_a_state_gone_back_to_goes_on_with_the_same_bits(tmp_path, monkeypatch):
  """With the same rates, the abandoned epoch comes out again."""
  plain = wandering().revise

  def same(history, arch, look):
    revision = plain(history, arch, look)
    if revision is not None and revision.back is not None:
      # The same number but for its last bit's worth in the state's type.
      return revision._replace(rates={DECAY: history.rates[DECAY]})
    return revision

  calls = itertools.count()

  def once(history, arch, look):
    if len(history.metrics) == 3 and next(calls):
      return None
    return same(history, arch, look)

  made = wandering()
  method = Method(init=made.init, revise=once, reach=2)
  monkeypatch.setitem(methods.METHODS, 'wandering', lambda: method)
  methods._made.cache_clear()
  search.run(config(), tmp_path / 'run', False)
  rows, told, *_ = left(tmp_path / 'run')
  (again,) = told[2]['abandoned']
  assert again == rows[2]


@pytest.mark.parametrize('early', [True, False])
def test_a_killed_run_does_the_same(tmp_path, monkeypatch, early):
  """Killed before, or after, each checkpoint that it would write."""
  expected = whole(tmp_path / 'whole')
  save, saves = checkpoints.Checkpoints.save, itertools.count()

  def dying(self, state, **where):
    if early and next(saves) == at:
      raise Killed
    save(self, state, **where)
    if not early and next(saves) == at:
      raise Killed

  for at in range(6):
    saves, workdir = itertools.count(), tmp_path / f'{at}'
    monkeypatch.setattr(checkpoints.Checkpoints, 'save', dying)
    with pytest.raises(Killed):
      search.run(config(), workdir, False)
    monkeypatch.setattr(checkpoints.Checkpoints, 'save', save)
    search.run(config(), workdir, False)
    assert left(workdir) == expected
    search.run(config(), workdir, False)  # a finished run stays
    assert left(workdir) == expected


def test_stages_are_carried_as_they_say(tmp_path):
  """Fresh weights under the mask of before; then all but the momentum."""
  masked, asked = wandering().revise, []

  def revise(history, arch, look):
    if history.epochs == 3:  # those of a stage and of what continues it
      asked.append(len(history.metrics))
      return Revision(stop=1) if asked[-1] == 2 else None
    return masked(history, arch, look) if history.epochs == 2 else None

  method = Method(init=wandering().init, revise=revise)
  methods.METHODS['wandering'] = lambda: method
  methods._made.cache_clear()
  stages = (
    {'epochs': 2},
    {'epochs': 1, 'carry': 'fresh', 'model.layers': 2, 'weights.lr': 0.0125},
    {'epochs': 1, 'carry': 'kept', 'model.layers': 2},
    {'epochs': 2, 'carry': 'continued', 'model.layers': 2},
  )
  own = config(stages=stages, **{'distill.warmup': 0, 'epochs': 1})
  search.run(own, tmp_path, False)
  rows, _, result, *_ = left(tmp_path)
  assert [row['epoch'] for row in rows] == ['0', '1', '2', '3', '4']
  # Once where the third stage ends and the last goes on; then it stops.
  assert asked == [0, 1, 2] and result['genotype_epoch'] == 4
  kept = checkpoints.Checkpoints(tmp_path / 'checkpoints')
  assert kept.place == (3, 1, True, 3)
  stage = search.begin(
    search.stages.plan(own, toys.SPACE)[3],
    toys.SPACE,
    search.sources.find('digits', ''),
    32,
  )
  state = kept.latest(jax.eval_shape(stage.first))
  assert not np.asarray(state.mask['reduce'][0]).any()
  assert float(state.rates['weights.lr']) == np.float32(0.025)
  assert int(state.step) == 2  # of the stage

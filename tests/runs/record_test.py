"""The record of a run: what is kept, dropped, and shown to a method."""

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.method import Revision
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import record
from sdnas_jax.spaces import published
from sdnas_jax.spaces import SPACES

SPACE = SPACES['darts']
ONE, TWO = (
  published.CELLS[name].genotype.fields for name in ('DARTS_V1', 'DARTS_V2')
)


@pytest.fixture
def workdir(tmp_path):
  """Of thirty epochs, of which the first 18 found one cell."""
  rows = [
    {
      'epoch': n,
      'train_loss': 3 - n / 16,
      'loss_drop': 1 / 16 if n else '',
      'dominant_eigenvalue': n / 4 if n % 2 else '',
      'seconds': 1.5,
      'true_accuracy': 0.9,
      'true_accuracy_cifar100': 0.7,
    }
    for n in range(30)
  ]
  artifacts.write_rows(tmp_path / 'metrics.csv', rows)
  artifacts.write_lines(tmp_path / 'genotypes.jsonl', [ONE] * 18 + [TWO] * 12)
  history = {
    'epoch': np.arange(30),
    'normal': np.arange(60.0).reshape(30, 2),
    'reduce': np.zeros((30, 2)),
  }
  artifacts.write_arrays(tmp_path / 'alphas.npz', history)
  return tmp_path


def opened(workdir, done=30, revisions=0, stages=(50,)):
  return record.Record(workdir, SPACE, stages, done, revisions)


def kept(log):
  """The final genotype, as files have it."""
  return [*map(tuple, log.final['normal'])]


def test_a_search_ends_with_the_cells_of_its_last_epoch(workdir):
  log = opened(workdir)
  assert log.stopped is None and log.last == 29
  assert kept(log) == [*TWO['normal']]


def test_one_that_was_stopped_with_those_of_then(workdir):
  log = opened(workdir)
  log.revise(0, Revision(stop=17))
  for known in (log, opened(workdir, revisions=1)):
    assert known.stopped == 17 and kept(known) == [*ONE['normal']]
    assert 'epoch 18' in known.conclusion()
  # A revision that no checkpoint knows of will be made again.
  assert opened(workdir, revisions=0).stopped is None


def test_epochs_that_were_run_must_be_there(workdir):
  (workdir / 'genotypes.jsonl').unlink()
  with pytest.raises(errors.BadInput, match='lacks epochs'):
    opened(workdir)


def test_a_method_sees_its_stage_in_numbers_and_never_the_truth(workdir):
  log = opened(workdir, stages=(10, 40))
  assert log.begun(1) == 10
  rates = {'weights.decay': 3e-4}
  past = log.past(10, rates, 40)
  assert (past.rates, past.epochs) == (rates, 40)
  assert len(past.metrics) == len(past.genotypes) == 20
  assert past.metrics[0] == {'train_loss': 3 - 10 / 16, 'loss_drop': 1 / 16}
  assert past.metrics[1]['dominant_eigenvalue'] == 11 / 4
  names = {name for row in past.metrics for name in row}
  assert not [name for name in names if 'true' in name] and names <= {
    *record.KNOWN
  }
  assert not [name for name in record.KNOWN if 'true' in name]
  assert set(past.alphas) == {'normal', 'reduce'}
  np.testing.assert_array_equal(past.alphas['normal'][0], [20, 21])
  assert past.genotypes[0] == published.read(ONE)
  assert past.genotypes[-1] == published.read(TWO)


def test_going_back_forgets_and_notes_what_it_forgets(workdir):
  log = opened(workdir)
  revision = Revision(back=17, rates={'weights.decay': 9e-4})
  log.revise(0, revision)
  log.back(18)
  assert log.last == 17 and len(log.table.rows) == len(log.found) == 18
  assert [len(table) for table in log.history.values()] == [18] * 3
  (noted,) = artifacts.read_lines(workdir / 'revisions.jsonl')
  assert noted['epochs'] == 30 and noted['back'] == 17
  assert noted['rates'] == {'weights.decay': 9e-4}
  assert [int(row['epoch']) for row in noted['abandoned']] == [*range(18, 30)]
  assert noted['genotype'] == log.final
  assert log.stopped is None


def test_a_revision_s_epochs_are_those_of_the_whole_search(workdir):
  log = opened(workdir, stages=(10, 40))
  log.revise(10, Revision(stop=7))
  assert log.stopped == 17


def test_what_is_alive_is_noted(workdir):
  log = opened(workdir)
  mask = {'normal': np.array([[True, False]]), 'reduce': np.ones((1, 2), bool)}
  log.revise(0, Revision(arch=archs.Arch({}, mask)))
  (noted,) = artifacts.read_lines(workdir / 'revisions.jsonl')
  assert noted['alive'] == {
    'normal': [[True, False]],
    'reduce': [[True, True]],
  }

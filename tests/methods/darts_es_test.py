"""When DARTS-ES stops, by rules worked out by hand."""

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.methods import darts
from sdnas_jax.methods import darts_es
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import loop
from sdnas_jax.runs import record
from sdnas_jax.spaces import darts as space
from sdnas_jax.spaces import published


def rows(values, every=2):
  """Metrics whose eigenvalue was measured after every so many epochs."""
  return [
    {'dominant_eigenvalue': '' if (n + 1) % every else values[n // every]}
    for n in range(every * len(values))
  ]


def stops(values, every=2):
  """The number of epochs done when it stops, and the row it goes back to."""
  table = rows(values, every)
  for n in range(1, len(table) + 1):
    found = darts_es.stop(table[:n])
    if found is not None:
      return n, found
  return None


def test_a_flat_search_goes_on():
  assert stops([1.0] * 25) is None


def test_a_jump_stops_it_and_the_older_genotype_is_taken():
  # The 15th measurement is 3: the five last average 7/5, the older ones 1.
  # It ends after epoch 30 with what was found after epoch 18, row 17.
  assert stops([1.0] * 14 + [3.0] + [1.0] * 5) == (30, 17)


def test_growth_of_exactly_the_factor_is_not_enough():
  assert stops([1.0] * 14 + [2.5] * 1 + [1.0] * 5) is None


def test_the_first_ten_epochs_are_never_gone_back_to():
  # Measured after epoch 16 for the eighth time; six measurements back is 4.
  early = [1.0] * 7 + [100.0] + [0.0] * 3
  assert stops(early) == (22, 9)  # the mean stays high; 22 - 12 = 10
  assert stops([1.0] * 9 + [100.0], every=1) is None


def test_fewer_than_five_older_measurements_count_as_they_are():
  # Every ten epochs: the seventh's older ones are the first three, 1, 2, 3.
  assert stops([1, 2, 3, 2, 2, 2, 3.9], every=10) is None  # 2.58 to 2
  assert stops([1, 2, 3, 2, 2, 2, 4.1], every=10) == (70, 9)  # 2.62


def test_only_growth_of_a_positive_mean_counts():
  assert stops([-1.0] * 14 + [-50.0] * 5) is None
  assert stops([0.0] * 14 + [1.0]) is None


def test_a_last_epoch_that_is_out_of_step_is_left_out():
  table = rows([1.0] * 14)
  table.append({'dominant_eigenvalue': 50.0})  # after epoch 29
  assert darts_es.stop(table) is None


def test_the_record_ends_with_the_cells_of_then(tmp_path):
  names = 'DARTS_V1', 'DARTS_V2'
  one, two = (published.CELLS[name].genotype.fields for name in names)
  values = [1.0] * 14 + [3.0]
  artifacts.write_rows(tmp_path / 'metrics.csv', rows(values))
  artifacts.write_lines(tmp_path / 'genotypes.jsonl', [one] * 18 + [two] * 12)
  history = {'epoch': np.arange(30)}
  artifacts.write_arrays(tmp_path / 'alphas.npz', history)
  for done, stopped in ((30, 17), (29, None)):
    log = record.Record(tmp_path, space.SPACE, darts_es.METHOD, 50, done)
    assert log.stopped == stopped
    kept = one if stopped else two
    assert [*map(tuple, log.final['normal'])] == [*kept['normal']]
  log = record.Record(tmp_path, space.SPACE, darts_es.METHOD, 50, 30)
  assert 'epoch 18' in log.conclusion()
  other = record.Record(tmp_path, space.SPACE, darts.METHOD, 50, 30)
  assert other.stopped is None
  (tmp_path / 'genotypes.jsonl').unlink()
  with pytest.raises(errors.BadInput, match='lacks epochs'):
    record.Record(tmp_path, space.SPACE, darts_es.METHOD, 50, 30)


def test_the_loop_ends_when_it_is_over():
  class State:
    step, epoch = 0, 0

    class sums:
      diverged = 2**30

  finished = []

  def finish(state, sums, each, seconds):
    finished.append(seconds)
    return state, ''

  loop.run(
    State(),
    epochs=5,
    steps=1,
    checks=1,
    advance=lambda state, stop: state,
    validate=lambda state, sums, start, stop: state.sums,
    finish=finish,
    save=None,
    pace=loop.Pace(1),
    over=lambda: len(finished) == 2,
  )
  assert len(finished) == 2

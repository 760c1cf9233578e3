"""When DARTS-ES stops, by rules worked out by hand."""

import pytest

from sdnas_jax.methods import darts_es
from sdnas_jax.methods.method import History
from sdnas_jax.methods.method import Revision

DECAY = {'weights.decay': 3e-4}


def rows(values, every=2):
  """Metrics whose eigenvalue was measured after every so many epochs."""
  return [
    {'valid_loss': 1.0}
    | ({} if (n + 1) % every else {'dominant_eigenvalue': values[n // every]})
    for n in range(every * len(values))
  ]


def asked(table, epochs=100, rates=DECAY, **options):
  """What the method answers after the epochs of a table."""
  history = History(table, [], {}, rates, epochs)
  return darts_es(**options).revise(history, None, None)


def stops(values, every=2, epochs=100, **options):
  """The number of epochs done when it stops, and the row it goes back to."""
  table = rows(values, every)
  for n in range(len(table) + 1):
    found = asked(table[:n], epochs, **options)
    if found is not None:
      assert found == Revision(stop=found.stop)
      return n, found.stop
  return None


JUMP = [1.0] * 14 + [3.0] + [1.0] * 5


def test_a_flat_search_goes_on():
  assert stops([1.0] * 25) is None


def test_a_jump_stops_it_and_the_older_genotype_is_taken():
  # The 15th measurement is 3: the five last average 7/5, the older ones 1.
  # It ends after epoch 30 with what was found after epoch 18, row 17.
  assert stops(JUMP) == (30, 17)


def test_growth_of_exactly_the_factor_is_not_enough():
  assert stops([1.0] * 14 + [2.5] * 1 + [1.0] * 5) is None


def test_the_first_ten_epochs_are_never_gone_back_to():
  # A jump in row n shows in the means of rows n to n + 3, then in the older
  # ones too. Six rows back of the last is row 10, the first that may be, if n
  # is 13; with n = 12 it is row 9.
  assert stops([1.0] * 13 + [100.0] + [0.0] * 9, every=1) == (17, 10)
  assert stops([1.0] * 12 + [100.0] + [0.0] * 9, every=1) is None
  assert stops([1.0] * 12 + [100.0] + [0.0] * 9, every=1, first=9) == (16, 9)


def test_fewer_than_five_older_measurements_count_as_they_are():
  # Every eleven epochs: the seventh's older ones are the first three, 1, 2, 3.
  assert stops([1, 2, 3, 2, 2, 2, 3.9], every=11) is None  # 2.58 to 2
  assert stops([1, 2, 3, 2, 2, 2, 4.1], every=11) == (77, 10)  # 2.62


def test_only_growth_of_a_positive_mean_counts():
  assert stops([-1.0] * 14 + [-50.0] * 5) is None
  assert stops([0.0] * 14 + [1.0]) is None


def test_a_last_epoch_has_no_say():
  """It is out of step, or there is nothing left to stop."""
  table = rows([1.0] * 14)
  table.append({'dominant_eigenvalue': 50.0})  # after epoch 29
  assert asked(table, epochs=29) is None
  assert stops(JUMP[:15], epochs=30) is None
  assert stops(JUMP[:15], epochs=31) == (30, 17)


def test_it_decides_only_when_a_measurement_has_come():
  table = rows(JUMP)
  assert asked(table[:30]) == Revision(stop=17)
  assert asked(table[:31]) is None


@pytest.mark.parametrize(
  'options, found',
  [
    ({'window': 3}, (30, 19)),  # a mean of 5/3; 5 measurements back
    ({'delta': 2}, (30, 21)),  # 4 measurements back
    ({'factor': 1.4}, None),  # 7/5 is not above it
    ({'first': 18}, (32, 19)),
  ],
)
def test_its_numbers(options, found):
  assert stops(JUMP, **options) == found


def test_with_all_the_decay_that_may_be_it_goes_on():
  """As the authors' code, which compares by order: 81 times 3e-4."""
  table = rows(JUMP)[:30]
  assert asked(table, rates={'weights.decay': 81 * 3e-4}) is None
  assert asked(table, rates={'weights.decay': 27 * 3e-4}) == Revision(stop=17)


def test_it_needs_the_alphas_eigenvalue():
  refuse, right = darts_es().refuse, {'sharpness.every': 2}
  assert refuse(None, right | {'sharpness.of': 'alphas'}) == ''
  assert 'sharpness.of' in refuse(None, right | {'sharpness.of': 'weights'})
  assert darts_es().needs == {'sharpness.every': 2}

"""Searches of the table against hand-worked and brute-force ones."""

import itertools
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from sdnas_jax.analysis import tabular
from sdnas_jax.spaces import nasbench201 as space

ROOT = pathlib.Path(__file__).parent.parent.parent


class Scripted:
  """Stands for a generator: draws what it was told, in order."""

  def __init__(self, *draws):
    self.draws = list(draws)

  def integers(self, high, size):
    drawn = np.array(self.draws.pop(0))
    assert np.shape(drawn) in (size, (size,)) and drawn.max() < high
    return drawn


def away(a, b):
  pairs = zip(space.cell(a), space.cell(b), strict=True)
  return sum(one != other for one, other in pairs)


def test_random_search_finds_what_order_statistics_say():
  score, n = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6], 3
  # The k-th smallest is the best of n if the rest are among the k - 1 below.
  expected = sum(
    value * math.comb(k, n - 1) / math.comb(len(score), n)
    for k, value in enumerate(sorted(score))
  )
  brute = [max(some) for some in itertools.combinations(score, n)]
  assert expected == pytest.approx(np.mean(brute))
  rng = np.random.default_rng(0)
  found = []
  for _ in range(4000):
    order = tabular.random_search(rng, n, score)
    assert len(set(order)) == n
    found.append(max(score[k] for k in order))
  error = np.std(brute) / math.sqrt(len(found))
  assert abs(np.mean(found) - expected) < 4 * error


def test_evolution_by_hand():
  a, b = 100, 200
  ours, best = space.neighbours(b), space.neighbours(a)[5]
  score = np.zeros(space.SIZE)
  score[[a, b, best, ours[7]]] = 9, 3, 2, 1
  rng = Scripted(
    [a, b],
    # a beats b; then, a dead: b beats a's child; of b's child, twice: itself.
    [[1, 0], [1, 0], [1, 1]],
    [5, 7, 23],
  )
  order = tabular.evolution(rng, 5, score, population=2, sample=2)
  assert order == [a, b, best, ours[7], space.neighbours(ours[7])[23]]
  assert not rng.draws


@pytest.mark.parametrize('seed', range(3))
def test_a_child_differs_in_one_edge_from_one_of_the_living(seed):
  rng = np.random.default_rng(seed)
  score = rng.random(space.SIZE)
  order = tabular.evolution(rng, 60, score, population=5, sample=2)
  assert len(order) == 60
  for k in range(5, 60):
    assert any(away(order[k], parent) == 1 for parent in order[k - 5 : k])
  assert len(tabular.evolution(rng, 3, score, population=5)) == 3


def test_local_search_climbs_to_the_only_top():
  top = 4321
  score = [-away(top, k) for k in range(space.SIZE)]
  order = tabular.local_search(np.random.default_rng(0), 200, score)
  assert len(order) == len(set(order)) == 200
  steps = away(order[0], top)
  # A step queries the 24 but those seen: the last cell, and 3 of its edge.
  assert top in order[: 1 + 24 + 20 * (steps - 1)]
  assert top not in order[: 1 + 24 + 20 * (steps - 2)]


def test_local_search_starts_anew_where_nothing_is_better():
  flat = [0.0] * space.SIZE
  order = tabular.local_search(np.random.default_rng(0), 50, flat)
  assert set(order[1:25]) == set(space.neighbours(order[0]))
  assert away(order[0], order[25]) > 1
  around = set(space.neighbours(order[25])) - set(order[:25])
  assert set(order[26 : 26 + len(around)]) <= around


def test_local_search_sees_all_in_the_end():
  score = np.random.default_rng(0).random(space.SIZE).tolist()
  order = tabular.local_search(np.random.default_rng(1), space.SIZE, score)
  assert sorted(order) == list(range(space.SIZE))


def test_the_best_so_far_is_the_earlier_of_equals():
  score = np.array([1.0, 5.0, 3.0, 5.0, 0.0, 7.0])
  order = [4, 2, 3, 1, 0, 5, 5]
  assert tabular.best_so_far(order, score).tolist() == [4, 2, 3, 3, 3, 5, 5]


def test_a_curve_is_the_test_accuracy_of_what_validation_chose():
  score, test = np.arange(6.0), np.array([9.0, 1, 8, 2, 7, 3])
  runs = tabular.curves(tabular.random_search, score, test, 6, 4)
  for seed, run in enumerate(runs):
    order = np.random.default_rng(seed).permutation(6)
    best = [max(order[: n + 1]) for n in range(6)]
    assert run.tolist() == test[best].tolist()


def test_the_table_by_hand():
  runs = np.array([[90.0] * 9 + [92.0] * 3, [91.0] * 9 + [93.0] * 3])
  text = tabular.table({'mine': runs}, 12, 93.5, 94.0)
  head, costs, row, last = text.splitlines()
  assert head.endswith('12 epochs') and costs.split()[2:] == ['120', '144']
  assert row.split() == ['mine', *'92.50 ± 0.50 92.50 ± 0.50'.split()]
  assert '93.50' in last and '94.00' in last


def run(*flags):
  return subprocess.run(
    [sys.executable, '-m', 'sdnas_jax.analysis.tabular', *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_the_command_prints_and_draws(tmp_path):
  out = tmp_path / 'curves.png'
  done = run(f'--out={out}', '--repeats=3', '--budget=30')
  assert (done.returncode, done.stderr) == (0, '')
  assert max(map(len, done.stdout.splitlines())) <= 80
  assert done.stdout.count('local search') == 2
  assert out.read_bytes()[1:4] == b'PNG'


@pytest.mark.parametrize('flag', ['--budget=0', '--repeats=0', '--epochs=90'])
def test_the_command_refuses(flag):
  done = run(flag)
  assert done.returncode == 2 and flag.split('=')[1] in done.stderr
  assert 'Traceback' not in done.stderr


def test_a_picture_that_cannot_be_written_is_said(tmp_path):
  out = tmp_path / 'nowhere' / 'curves.png'
  done = run(f'--out={out}', '--repeats=1', '--budget=1')
  assert done.returncode == 2 and str(out) in done.stderr
  assert len(done.stderr.splitlines()) == 1

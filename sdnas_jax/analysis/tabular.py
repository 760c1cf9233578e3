"""Random search, evolution and local search on the NAS-Bench-201 table.

  python -m sdnas_jax.analysis.tabular --out=curves.png

A search queries the validation accuracy of cells; what counts is the test
accuracy, after 200 epochs, of the best cell so far by what it saw. A query
costs the epochs of its training, 12 or 200; the table has no seconds. The
200 epochs that the cell found would then be trained for are not counted.
"""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import pathlib
import sys

import numpy as np

from sdnas_jax.analysis import nasbench201
from sdnas_jax.report import figures
from sdnas_jax.report import table as tables
from sdnas_jax.spaces import nasbench201 as space

# (rng, budget, score [15625]) -> the indices queried, `budget` of them in order
Search = Callable[[np.random.Generator, int, Sequence[float]], list[int]]


def random_search(
  rng: np.random.Generator, budget: int, score: Sequence[float]
) -> list[int]:
  """Cells in a random order, none twice."""
  return rng.permutation(len(score))[:budget].tolist()


def evolution(
  rng: np.random.Generator,
  budget: int,
  score: Sequence[float],
  population: int = 10,
  sample: int = 3,
) -> list[int]:
  """Regularised evolution (Real et al., AAAI 2019, Algorithm 1).

  The best of a sample, drawn with replacement, gets a child with another
  operation on one edge. The oldest dies, however good it is. A cell met again
  is queried again, as the algorithm trains every child.

  Args:
    rng: draws everything.
    budget: the number of queries.
    score: what a query gives, by index; more is better.
    population: how many live; 10, and a sample of 3, are NATS-Bench's.
    sample: how many compete to be the parent.
  """
  order = rng.integers(space.SIZE, size=min(population, budget)).tolist()
  births = budget - len(order)
  samples = rng.integers(population, size=(births, sample)).tolist()
  changes = rng.integers(len(space.neighbours(0)), size=births).tolist()
  for drawn, change in zip(samples, changes, strict=True):
    living = order[-population:]
    parent = max((living[k] for k in drawn), key=score.__getitem__)
    order.append(space.neighbours(parent)[change])
  return order


def local_search(
  rng: np.random.Generator, budget: int, score: Sequence[float]
) -> list[int]:
  """Steepest ascent over all 24 neighbours, from a new cell when stuck.

  White et al., UAI 2021, Algorithm 1, with restarts. No cell is queried twice.
  """
  seen = {}  # in the order of the queries
  for at in rng.permutation(len(score)).tolist():
    stuck = False
    while not stuck:
      around = space.neighbours(at)
      seen.setdefault(at)
      for k in rng.permutation(len(around)).tolist():
        seen.setdefault(around[k])
      if len(seen) >= budget:
        return list(seen)[:budget]
      best = max(around, key=score.__getitem__)
      stuck = score[best] <= score[at]
      at = best
  return list(seen)


SEARCHES: dict[str, Search] = {
  'random search': random_search,
  'evolution': evolution,
  'local search': local_search,
}


def best_so_far(order: Sequence[int], score: np.ndarray) -> np.ndarray:
  """After each query, the index of the best cell yet; the earlier of equals."""
  order = np.asarray(order)
  scores = score[order]
  leads = np.maximum.accumulate(scores)
  new = np.append(True, scores[1:] > leads[:-1])
  return order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]


def curves(
  search: Search, score: np.ndarray, test: np.ndarray, budget: int, repeats: int
) -> np.ndarray:
  """The test accuracy [repeats, budget] of the best cell after each query.

  Args:
    search: which one.
    score: what it sees, [15625].
    test: what counts, [15625].
    budget: queries a repetition.
    repeats: repetitions; each has its number as its seed.
  """
  listed = score.tolist()  # reading one of its numbers is faster
  orders = (
    search(np.random.default_rng(seed), budget, listed)
    for seed in range(repeats)
  )
  return np.stack([test[best_so_far(order, score)] for order in orders])


def table(
  found: dict[str, np.ndarray], epochs: int, limit: float, best: float
) -> str:
  """Mean and deviation of searches at several costs, as lines of text.

  Args:
    found: each search's test accuracies [repeats, budget].
    epochs: what a query costs.
    limit: the test accuracy of the cell whose validation accuracy is highest.
    best: the highest test accuracy of all.
  """
  budget = next(iter(found.values())).shape[1]
  steps = [n for n in (10, 30, 100, 300, 1000, 3000, 10000) if n <= budget]
  steps = sorted({*steps[-5:], budget})[-5:]
  rows = [{'epochs spent': name} for name in found]
  for row, runs in zip(rows, found.values(), strict=True):
    for n in steps:
      mean, deviation = runs[:, n - 1].mean(), runs[:, n - 1].std()
      row[f'{n * epochs:,}'] = f'{mean:.2f} ± {deviation:.2f}'
  return (
    f'by validation accuracy after {epochs} epochs\n{tables.text(rows)}\n'
    f'with every cell seen {limit:.2f}, the best there is {best:.2f}'
  )


def _flags(argv):
  parser = argparse.ArgumentParser(
    prog='python -m sdnas_jax.analysis.tabular',
    description='Simulated searches on the NAS-Bench-201 table.',
  )
  known = nasbench201.DATASETS
  parser.add_argument('--out', type=pathlib.Path, help='draw a PNG there')
  parser.add_argument('--dataset', choices=known, default=known[0])
  parser.add_argument(
    '--epochs',
    type=int,
    nargs='+',
    choices=nasbench201.EPOCHS,
    default=nasbench201.EPOCHS,
    help='of the trainings whose validation accuracy the search sees',
  )
  parser.add_argument('--budget', type=int, default=1000, help='queries')
  parser.add_argument('--repeats', type=int, default=200)
  flags = parser.parse_args(argv)
  if not 1 <= flags.budget <= space.SIZE:
    parser.error(f'--budget={flags.budget}: give 1 to {space.SIZE} queries')
  if flags.repeats < 1:
    parser.error(f'--repeats={flags.repeats}: give 1 or more')
  return flags


def main(argv: list[str]) -> int:
  """Runs all searches, prints their tables, draws; returns the exit code."""
  flags = _flags(argv)
  test = nasbench201.column(flags.dataset, 200, 'test')
  found = {}
  for epochs in flags.epochs:
    score = nasbench201.column(flags.dataset, epochs, 'valid')
    runs = {
      name: curves(search, score, test, flags.budget, flags.repeats)
      for name, search in SEARCHES.items()
    }
    limit = test[score.argmax()]
    print(table(runs, epochs, limit, test.max()), end='\n\n')
    found[epochs] = runs, limit
  if flags.out:
    png = figures.incumbents(found, test.max(), flags.dataset)
    try:
      flags.out.write_bytes(png)
    except OSError as error:
      print(f'error: {error}: name another file by --out', file=sys.stderr)
      return 2
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))

"""The NAS-Bench-201 table: what each of 15,625 cells reached when trained.

  python -m sdnas_jax.analysis.nasbench201 1835

>>> from sdnas_jax.analysis import nasbench201
>>> nasbench201.query(1835).cifar10.test
54.2967

The protocols (Dong and Yang, ICLR 2020, section 2): cifar10's `valid` is from a
training on 25,000 of its training images and on the other 25,000, its `test`
from a training on all 50,000 and on the 10,000 test images. The other sets are
trained on all their training images; of their test images one half is `valid`,
one `test`. nasbench201.md tells where the table is from.
"""

import argparse
import functools
import pathlib
import sys
from typing import NamedTuple

import numpy as np

from sdnas_jax import errors
from sdnas_jax.spaces import nasbench201 as space

FILE = pathlib.Path(__file__).with_suffix('.npz')
DATASETS = 'cifar10', 'cifar100', 'imagenet16-120'
EPOCHS = 12, 200
SPLITS = 'valid', 'test'
UNIT = 1e4  # the file holds whole numbers, of 1e-4 % and of 1e-4 million


class Table(NamedTuple):
  """The whole table, by the benchmark's index."""

  accuracy: np.ndarray  # [15625, DATASETS, EPOCHS, SPLITS], %
  parameters: np.ndarray  # [15625, DATASETS]
  multiply_adds: np.ndarray  # [15625], millions, of one image of cifar10
  rank: np.ndarray  # [15625, DATASETS] by test accuracy, from 1; ties share one


class Scores(NamedTuple):
  """A cell on one data set: accuracies in %, after 200 and after 12 epochs."""

  valid: float
  test: float
  valid12: float
  test12: float
  parameters: int
  rank: int  # by `test`, from 1 on


class Record(NamedTuple):
  """A line of the table."""

  index: int
  cell: space.Cell
  multiply_adds: float  # millions, of one image of cifar10
  cifar10: Scores
  cifar100: Scores
  imagenet16_120: Scores


@functools.cache
def table() -> Table:
  """The table, read when first asked for."""
  with np.load(FILE) as file:
    accuracy = file['accuracy'] / UNIT
    ranks = [
      1 + len(test) - np.searchsorted(np.sort(test), test, side='right')
      for test in accuracy[:, -1, -1]
    ]
    return Table(
      np.moveaxis(accuracy, -1, 0),
      file['parameters'].T,
      file['multiply_adds'] / UNIT,
      np.stack(ranks, axis=1).astype(np.uint16),
    )


def column(dataset: str, epochs: int, split: str) -> np.ndarray:
  """The accuracies [15625] of all cells, in %.

  Raises:
    BadInput: the table has no such data set, number of epochs or split.
  """
  errors.pick('data set', dataset, DATASETS)
  errors.pick('number of epochs', str(epochs), map(str, EPOCHS))
  errors.pick('split', split, SPLITS)
  place = DATASETS.index(dataset), EPOCHS.index(epochs), SPLITS.index(split)
  return table().accuracy[:, *place]


def query(which: int | str | space.Cell) -> Record:
  """What the table says of a cell: index, architecture string or operations.

  Raises:
    BadInput: there is no such cell.
  """
  if isinstance(which, str):
    which = space.parse(which)
  if isinstance(which, tuple):
    index, cell = space.index(which), which
  else:
    index, cell = int(which), space.cell(which)
  known = table()
  sets = zip(
    known.accuracy[index].tolist(),
    known.parameters[index].tolist(),
    known.rank[index].tolist(),
    strict=True,
  )
  scores = (
    Scores(*late, *early, size, rank) for (early, late), size, rank in sets
  )
  return Record(index, cell, float(known.multiply_adds[index]), *scores)


def describe(record: Record) -> str:
  """A record in words and columns, at most 80 characters wide."""
  nodes = space.text(record.cell).split('+')
  lines = [
    f'architecture {record.index} of {space.SIZE}',
    *(f'  node {n + 1}  {edges}' for n, edges in enumerate(nodes)),
    f'{record.multiply_adds:.2f} million multiply-adds an image of cifar10',
    '',
    f'{"accuracy, %":<16}{"12 epochs":^18}{"200 epochs":^18}{"rank by":>9}',
    f'{"":<16}{"valid":>8}{"test":>8}{"valid":>10}{"test":>8}{"test":>11}'
    f'{"parameters":>13}',
  ]
  for name, one in zip(DATASETS, record[-3:], strict=True):
    lines.append(
      f'{name:<16}{one.valid12:8.2f}{one.test12:8.2f}{one.valid:10.2f}'
      f'{one.test:8.2f}{one.rank:11}{one.parameters:13,}'
    )
  return '\n'.join(lines)


def main(argv: list[str]) -> int:
  """Prints a record; returns the exit code, 2 for a cell that is none."""
  parser = argparse.ArgumentParser(
    prog='python -m sdnas_jax.analysis.nasbench201',
    description='What the NAS-Bench-201 table says of an architecture.',
  )
  parser.add_argument('which', help=f'an index, or {space.FORM} in quotes')
  which = parser.parse_args(argv).which
  try:
    number = which.removeprefix('-').isdecimal()
    print(describe(query(int(which) if number else which)))
  except errors.BadInput as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))

"""What a genotype reaches when trained, where a table knows it.

>>> from sdnas_jax.spaces import published
>>> truth.row(published.find('1835'), 'cifar10')
{'true_accuracy': 0.542967}
"""

import csv
import itertools
import pathlib
from typing import Any

from sdnas_jax.analysis import nasbench201 as table
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space as spaces

PLACES = [*itertools.product(table.DATASETS, table.SPLITS)]
COLUMNS = [f'{data} {split}' for data, split in PLACES]
# Of a cell's six edges, those that compute nothing: searches collapse to them.
COUNTS = {'skip_connections': 'skip_connect', 'missing_edges': 'none'}
KNOWN = 'index', 'architecture', *COUNTS, *COLUMNS
# By method, accuracies in % as text: Zhu et al. 2023, Table 4.
_CSV = pathlib.Path(__file__).with_suffix('.csv').read_text('utf-8')
PUBLISHED = {r.pop('method'): r for r in csv.DictReader(_CSV.splitlines())}


def column(data: str) -> str:
  """Of metrics.csv: it names a data set other than cifar10."""
  known = _dataset(data).replace('-', '_')
  return 'true_accuracy' + (f'_{known}' if known != 'cifar10' else '')


def row(
  genotype: spaces.Genotype | nasbench201.Genotype, data: str
) -> dict[str, float]:
  """The test accuracy, in [0, 1], after 200 epochs; {} if no table knows it.

  For a data set that the table lacks, the truth is that of cifar10.
  """
  if not isinstance(genotype, nasbench201.Genotype):
    return {}
  known = _dataset(data).replace('-', '_')
  scores = getattr(table.query(genotype.architecture), known)
  return {column(data): round(scores.test / 100, 6)}


def scores(genotype: nasbench201.Genotype) -> dict[str, Any]:
  """What is KNOWN of a cell, its accuracies after 200 epochs in %."""
  record = table.query(genotype.architecture)
  found = [record.index, genotype.architecture, *counts(genotype).values()]
  found += [x for one in record[-3:] for x in (one.valid, one.test)]
  return dict(zip(KNOWN, found, strict=True))


def counts(genotype: nasbench201.Genotype) -> dict[str, int]:
  """How many of a cell's edges are of each of the COUNTS."""
  cell = nasbench201.parse(genotype.architecture)
  return {name: cell.count(operation) for name, operation in COUNTS.items()}


def optima() -> dict[str, float]:
  """The highest of each of the COLUMNS, in %."""
  best = (table.column(data, 200, split).max() for data, split in PLACES)
  return dict(zip(COLUMNS, map(float, best), strict=True))


def optimum(data: str) -> float:
  """The highest one there is."""
  return float(table.column(_dataset(data), 200, 'test').max()) / 100


def note(space: str, data: str) -> str:
  """What a search's `column` is, in a sentence; '' where there is none."""
  if space != nasbench201.SPACE.name:
    return ''
  known = _dataset(data)
  why = '' if known == data else f', for the table has no {data}'
  return f'{column(data)}: after 200 epochs on {known}{why}'


def _dataset(data):
  return data if data in table.DATASETS else 'cifar10'

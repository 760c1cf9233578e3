"""What a genotype reaches when trained, where a table knows it.

>>> from sdnas_jax.spaces import published
>>> truth.row(published.find('1835'), 'cifar10')
{'true_accuracy': 0.542967}
"""

import itertools
from typing import Any

from sdnas_jax.analysis import nasbench201 as table
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space as spaces

PLACES = [*itertools.product(table.DATASETS, table.SPLITS)]
COLUMNS = [f'{data} {split}' for data, split in PLACES]
# Of a cell's six edges, those that compute nothing: searches collapse to them.
COUNTS = {'skip_connections': 'skip_connect', 'missing_edges': 'none'}
KNOWN = 'index', 'architecture', *COUNTS, *COLUMNS
# Zhu et al. 2023, Table 4: accuracies in %, as COLUMNS.
_TABLE = """
DARTS       39.77±0.00 54.30±0.00 15.03±0.00 15.61±0.00 16.43±0.00 16.32±0.00
DARTS (2nd) 39.77±0.00 54.30±0.00 15.03±0.00 15.61±0.00 16.43±0.00 16.32±0.00
GDAS        89.89±0.08 93.61±0.09 71.34±0.04 70.70±0.30 41.59±1.33 41.71±0.98
SNAS        90.10±1.04 92.77±0.83 69.69±2.39 69.34±1.98 42.84±1.79 43.16±2.64
DSNAS       89.66±0.29 93.08±0.13 30.87±16.4 31.01±16.4 40.61±0.09 41.07±0.09
PC-DARTS    89.96±0.15 93.41±0.30 67.12±0.39 67.48±0.89 40.83±0.08 41.31±0.22
iDARTS      89.86±0.60 93.58±0.32 70.57±0.24 70.83±0.48 40.38±0.59 40.89±0.68
DARTS-      91.03±0.44 93.80±0.40 71.36±1.51 71.53±1.51 44.87±1.46 45.12±0.82
SD-DARTS    91.21±0.11 93.91±0.08 70.87±0.33 71.88±0.76 45.75±0.26 46.03±0.59
"""
PUBLISHED = {
  line[:11].strip(): dict(zip(COLUMNS, line[11:].split(), strict=True))
  for line in _TABLE.strip().splitlines()
}


def column(data: str) -> str:
  """Of metrics.csv: it names a data set other than cifar10."""
  known = _dataset(data)
  return 'true_accuracy' + (f'_{_field(known)}' if known != 'cifar10' else '')


def row(
  genotype: spaces.Genotype | nasbench201.Genotype, data: str
) -> dict[str, float]:
  """The test accuracy, in [0, 1], after 200 epochs; {} if no table knows it.

  For a data set that the table lacks, the truth is that of cifar10.
  """
  if not isinstance(genotype, nasbench201.Genotype):
    return {}
  scores = getattr(table.query(genotype.architecture), _field(_dataset(data)))
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


def _field(known):
  return known.replace('-', '_')

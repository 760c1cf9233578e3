"""Packs a CSV of NAS-Bench-201 into the file that the package reads.

  python -m benchmarks.nasbench201_build table.csv.gz

A row an architecture, in the benchmark's order, with `arch`, its string; for
each data set (c10, c100, in16), `c10_valid` and `c10_test` after 200 epochs and
`ep12_c10_valid` and `ep12_c10_test` after 12, in %, and `params_c10`; and
`flops_c10_M`, multiply-adds in millions. The same CSV gives the same bytes.
"""

from collections.abc import Sequence
import csv
import gzip
import pathlib
import sys

import numpy as np

from sdnas_jax import errors
from sdnas_jax.analysis import nasbench201
from sdnas_jax.spaces import nasbench201 as space

DATASETS = 'c10', 'c100', 'in16'
PREFIXES = 'ep12_', ''  # 12 and 200 epochs
ACCURACIES = tuple(
  f'{prefix}{name}_{split}'
  for name in DATASETS
  for prefix in PREFIXES
  for split in nasbench201.SPLITS
)
PARAMETERS = tuple(f'params_{name}' for name in DATASETS)
MULTIPLY_ADDS = ('flops_c10_M',)


def build(source: pathlib.Path, target: pathlib.Path) -> None:
  """Writes the npz of a gzipped CSV.

  Raises:
    BadInput: it lacks a column or a row, or its rows are in another order.
  """
  with gzip.open(source, 'rt', newline='') as file:
    rows = list(csv.DictReader(file))
  wanted = {'arch', *ACCURACIES, *PARAMETERS, *MULTIPLY_ADDS}
  missing = sorted(wanted.difference(*rows[:1]))
  if missing:
    raise errors.BadInput(
      f'{source} lacks the columns {", ".join(missing)}: add them'
    )
  if len(rows) != space.SIZE:
    raise errors.BadInput(
      f'{source} has {len(rows)} rows: give one for each of {space.SIZE} cells'
    )
  for index, row in enumerate(rows):
    if row['arch'] != space.text(space.cell(index)):
      raise errors.BadInput(
        f'row {index} of {source} is {row["arch"]}: sort the rows by the '
        f"benchmark's index, in which it is {space.text(space.cell(index))}"
      )
  axes = len(DATASETS), len(PREFIXES), len(nasbench201.SPLITS)
  np.savez_compressed(
    target,
    accuracy=_whole(rows, ACCURACIES, nasbench201.UNIT).reshape(*axes, -1),
    parameters=_whole(rows, PARAMETERS, 1),
    multiply_adds=_whole(rows, MULTIPLY_ADDS, nasbench201.UNIT)[0],
  )


def _whole(rows, names, unit):
  """The columns [names, rows], as whole numbers of a unit's parts."""
  # Like lies by like, which packs better than row by row.
  values = [[float(row[name]) for row in rows] for name in names]
  return np.round(np.array(values) * unit).astype(np.uint32)


def main(argv: Sequence[str]) -> int:
  """Packs the CSV named; returns the exit code."""
  if len(argv) != 1 or argv[0].startswith('-'):
    print(__doc__)
    return 0 if argv[:1] in (['-h'], ['--help']) else 2
  try:
    build(pathlib.Path(argv[0]), nasbench201.FILE)
  except (errors.BadInput, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))

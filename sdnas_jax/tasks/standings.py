"""Table 4 of the paper: what the methods of a comparison found, looked up.

NAS-Bench-201 knows what each cell reaches when trained, so that methods are
told apart without training any (Zhu et al. 2023, section 4.4).
"""

from collections.abc import Mapping
from collections.abc import Sequence
import itertools
import json
import pathlib
from typing import Any

import numpy as np

from sdnas_jax.analysis import nasbench201 as table
from sdnas_jax.analysis import truth
from sdnas_jax.report import spread
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import published
from sdnas_jax.tasks import rank

PLACES = [*itertools.product(table.DATASETS, table.SPLITS)]
COLUMNS = [f'{data} {split}' for data, split in PLACES]
# Of a cell's six edges, those that compute nothing: searches collapse to them.
COUNTS = {'skip_connections': 'skip_connect', 'missing_edges': 'none'}
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
  line[:11].strip(): line[11:].split() for line in _TABLE.strip().splitlines()
}


def write(
  workdir: pathlib.Path,
  runs: Mapping[pathlib.Path, tuple[str, int]],
  data: str,
  marks: Mapping[str, int],
) -> None:
  """Writes table.csv, truth.csv and truth.png.

  Args:
    workdir: of the comparison.
    runs: from a finished run's folder to its method and seed.
    data: the data set that they searched.
    marks: epochs to mark, by what begins there.
  """
  rows = [found(path, *run, data) for path, run in runs.items()]
  artifacts.write_rows(workdir / 'table.csv', rows)
  rows = [row for path, run in runs.items() for row in read(path, *run, data)]
  artifacts.write_rows(workdir / 'truth.csv', rows)
  column = truth.column(data)
  best = {column: truth.optimum(data)}
  picture = spread.draw(rows, (column, *COUNTS), marks, best)
  artifacts.write(workdir / 'truth.png', picture)


def found(
  path: pathlib.Path, method: str, seed: int, data: str
) -> dict[str, Any]:
  """The cell that a run ended with, its accuracies in %, and Kendall's tau."""
  ranked = path / 'rank.csv'
  genotype = json.loads((path / 'genotype.json').read_text())
  record = table.query(genotype['architecture'])
  scores = [x for one in record[-3:] for x in (one.valid, one.test)]
  return {
    'method': method,
    'seed': seed,
    'index': record.index,
    'architecture': genotype['architecture'],
    **_counts(record.cell),
    **dict(zip(COLUMNS, scores, strict=True)),
    'kendall_tau': rank.tau(rank.read(ranked, data)) if ranked.exists() else '',
  }


def read(
  path: pathlib.Path, method: str, seed: int, data: str
) -> list[dict[str, Any]]:
  """The truth of each epoch's cell, and its COUNTS."""
  rows = []
  for epoch, line in enumerate(artifacts.read_lines(path / 'genotypes.jsonl')):
    genotype = published.read(line)
    cell = nasbench201.parse(genotype.architecture)
    rows.append(
      {
        'method': method,
        'seed': seed,
        'epoch': epoch,
        **truth.row(genotype, data),
        **_counts(cell),
      }
    )
  return rows


def _counts(cell):
  return {name: cell.count(operation) for name, operation in COUNTS.items()}


def summary(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
  """Table 4: our mean and deviation by the published row; then the others.

  Args:
    rows: of table.csv.

  Returns:
    Rows of text: `method`, `from` and COLUMNS.
  """
  lines, methods = [], dict.fromkeys(row['method'] for row in rows)
  for method in methods:
    own = [row for row in rows if row['method'] == method]
    cells = [_told([float(row[name]) for row in own]) for name in COLUMNS]
    plural = 's' if len(own) > 1 else ''
    lines.append(_line(method, f'{len(own)} run{plural}', cells))
    if method in PUBLISHED:
      lines.append(_line(method, 'published', PUBLISHED[method]))
  others = [method for method in PUBLISHED if method not in methods]
  lines += [_line(name, 'published', PUBLISHED[name]) for name in others]
  best = [table.column(data, 200, split).max() for data, split in PLACES]
  return [*lines, _line('optimum', 'the table', [f'{x:.2f}' for x in best])]


def _line(method, source, cells):
  named = zip(COLUMNS, cells, strict=True)
  return {'method': method, 'from': source, **dict(named)}


def _told(values):
  """Mean and deviation, in at most 10 characters."""
  if len(values) == 1:
    return f'{values[0]:.2f}'
  deviation = np.std(values, ddof=1)
  digits = 2 if deviation < 9.995 else 1
  return f'{np.mean(values):.2f}±{deviation:.{digits}f}'


def text(rows: Sequence[Mapping[str, str]]) -> str:
  """The summary, in lines of 80 characters if no name is longer than 14."""
  lines, before = [], None
  shown = summary(rows)
  wide = max(14, *(len(row['method']) for row in shown))
  for row in shown:
    again = row['method'] == before
    name = f'  {row["from"]}' if again else row['method']
    if row['from'] == 'published' and not again:
      name += ' *'
    lines.append(f'{name:<{wide}}' + ''.join(f'{row[c]:>11}' for c in COLUMNS))
    before = row['method']
  sets = ''.join(f'{name:^22}' for name in table.DATASETS)
  parts = ''.join(f'{part:>11}' for _, part in PLACES)
  head = [f'{"accuracy, %":<{wide}}{sets}'.rstrip(), f'{"":<{wide}}{parts}']
  notes = ['* as published in Table 4 of the paper', *_taus(rows)]
  return '\n'.join([*head, *lines, *notes])


def _taus(rows):
  """Kendall's tau of each method's supernets, in a line, where it is known."""
  known = {}
  for row in rows:
    if row['kendall_tau'] != '':
      known.setdefault(row['method'], []).append(float(row['kendall_tau']))
  told = ', '.join(f'{name} {_told(taus)}' for name, taus in known.items())
  return [f"Kendall's tau of the supernets: {told}"] if told else []

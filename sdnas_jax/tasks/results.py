"""What the runs of a study came to: its rows, its summary, its figures."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
from typing import Any
from typing import NamedTuple

from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import sharpness
from sdnas_jax.analysis import truth
from sdnas_jax.report import spectrum
from sdnas_jax.report import spread
from sdnas_jax.report import strip
from sdnas_jax.report import surface
from sdnas_jax.report import table
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import locks
from sdnas_jax.spaces import published
from sdnas_jax.tasks import rank

MEASURES = *sharpness.NAMES, 'loss_drop'
# Columns of study.csv, by what the result.json of a search calls them.
SEARCHED = {
  'supernet_accuracy': 'valid_accuracy',
  'supernet_parameters': 'parameters',
  'search_seconds': 'seconds',
}
TRAINED = 'parameters', 'macs', 'seconds'
# What other tables show of study.csv, by their own names.
COMPARISON = {'network': 'variant', 'seed': 'training_seed'}
COMPARISON |= {name: name for name in ('test_error', *TRAINED)}
TABLE = {'method': 'variant', 'seed': 'seed'}
TABLE |= {name: name for name in (*truth.KNOWN, 'kendall_tau')}
ABLATION = {
  name: name for name in ('seed', 'accuracy', 'supernet_accuracy', 'parameters')
}
# A summary's titles: the column, what it is multiplied by, its digits.
_TRUTHS = {name: name.replace('-120', '') for name in truth.COLUMNS}
_TITLES = {
  **{title: (name, 1, 2) for name, title in _TRUTHS.items()},
  'runs': ('seed', 1, None),
  'test error, %': ('test_error', 100, 2),
  'validation error, %': ('validation_error', 100, 2),
  'parameters': ('parameters', 1, 0),
  'eigenvalue': ('dominant_eigenvalue', 1, 4),
  'sharpness': ('sharpness', 1, 4),
  'gap': ('gap', 1, 4),
  'loss drop': ('loss_drop', 1, 4),
  "Kendall's tau": ('kendall_tau', 1, 2),
  'supernet accuracy, %': ('supernet_accuracy', 100, 2),
  'search, s': ('search_seconds', 1, 0),
  'training, s': ('seconds', 1, 0),
}


class Run(NamedTuple):
  """A cell, searched or given, and its trainings, in a folder of its own."""

  path: pathlib.Path
  name: str
  seed: int
  trainings: tuple[ConfigDict, ...]
  search: ConfigDict | None = None
  cell: Any = None  # a genotype that was not searched
  among: tuple['Run', ...] = ()  # or those whose best one's cell is taken
  error: str = 'test_error'  # or what else a training ends with

  @property
  def trained(self) -> list[pathlib.Path]:
    """The folders of its trainings."""
    return [self.path / f'trained-{n}' for n in range(len(self.trainings))]

  @property
  def done(self) -> bool:
    """Whether it has come to its end, as far as this host can see."""
    return all(map(locks.done, self.trained or [self.path]))


def best(among: Sequence[Run]) -> Run:
  """Of runs that are done, that whose trainings' mean error is the lowest."""

  def error(one):
    return np.mean([_result(path)['test_error'] for path in one.trained])

  return min(among, key=error)


def _result(path):
  return json.loads((path / 'result.json').read_text())


def write(workdir: pathlib.Path, runs: Sequence[Run], field: str) -> None:
  """Writes the tables and the figures of what is done.

  Args:
    workdir: of the study.
    runs: all of it, done or not.
    field: of the search, by whose values the trained networks are compared;
      '': by their names.
  """
  rows = [row for one in runs for row in _rows(one, field)]
  if not rows:
    return
  names = dict.fromkeys(name for row in rows for name in row)
  _table(workdir / 'study.csv', rows, {name: name for name in names})
  artifacts.write(workdir / 'study.md', table.markdown(summary(rows)))
  known = [row for row in rows if 'index' in row]
  _table(workdir / 'table.csv', known, TABLE)
  trained = [row for row in rows if 'training_seed' in row]
  _ablate(workdir, [row for row in trained if field in row], field)
  tested = [r for r in trained if field not in r and 'test_error' in r]
  shown = _table(workdir / 'comparison.csv', tested, COMPARISON)
  _draw(workdir / 'comparison.png', strip.draw, shown)
  searches = [one for one in runs if one.search and locks.done(one.path)]
  _follow(workdir, searches)
  firsts = {one.name: one.path for one in searches if not one.seed}
  for file, draw, read in (
    ('landscape.npz', surface.draw, artifacts.read_arrays),
    ('spectrum.csv', spectrum.draw, artifacts.read_rows),
  ):
    found = {name: read(path / file) for name, path in firsts.items()}
    found = {name: shown for name, shown in found.items() if shown}
    _draw((workdir / file).with_suffix('.png'), draw, found)


def _table(path, rows, columns):
  """Writes some columns by the names given, if there are any rows."""
  shown = [
    {name: row.get(column, '') for name, column in columns.items()}
    for row in rows
  ]
  if shown:
    artifacts.write_rows(path, shown)
  return shown


def _draw(path, draw, shown, *how):
  if shown:
    artifacts.write(path, draw(shown, *how))


def _ablate(workdir, rows, field):
  """Writes how accurate the trained networks are by the value of a field."""
  kinds = 'test_error', 'validation_error'
  rows = [r | {'accuracy': 1 - r[k]} for r in rows for k in kinds if k in r]
  _table(workdir / 'ablation.csv', rows, {'value': field} | ABLATION)
  runs = [
    {'method': 'mean', **row, 'seed': row['training_seed']} for row in rows
  ]
  _draw(workdir / 'ablation.png', spread.draw, runs, ['accuracy'], field)


def _rows(one, field):
  """A row for each training that is done, or for the search alone."""
  head = {'variant': one.name, 'seed': one.seed}
  rows = [_trained(path, one.error) for path in one.trained if locks.done(path)]
  if one.trainings and not rows:
    return []
  if one.among:
    head['selected'] = best(one.among).name
  if one.search:
    if not locks.done(one.path):
      return []
    if field:
      head[field] = dict(artifacts.flat(one.search.to_dict()))[field]
    # What it came to stands once, however often its cell is trained.
    first, *rest = rows or [{}]
    rows = [_searched(one.path, one.search) | first, *rest]
  return [head | row for row in rows]


def _trained(path, error):
  """What a training came to."""
  result = _result(path)
  kept = {name: result[name] for name in TRAINED}
  return {'training_seed': result['seed'], error: result['test_error'], **kept}


def _searched(path, search):
  """What a search came to."""
  result = _result(path)
  found = {name: result[key] for name, key in SEARCHED.items()}
  for row in measured(path, search)[-1:]:
    found |= {name: row[name] for name in MEASURES}
  data = search.data.name
  if truth.note(search.space, data):
    found |= truth.scores(published.find(str(path / 'genotype.json')))
    ranked = path / 'rank.csv'
    if ranked.exists():
      found['kendall_tau'] = rank.tau(rank.read(ranked, data))
  return found


def measured(path: pathlib.Path, search: ConfigDict) -> list[dict[str, Any]]:
  """The MEASURES of each epoch in which a search looked at itself."""
  del search
  return [
    {
      'epoch': int(row['epoch']),
      **{name: float(row.get(name) or 'nan') for name in MEASURES},
    }
    for row in artifacts.read_rows(path / 'metrics.csv')
    if row.get(MEASURES[0])
  ]


def looked_up(path: pathlib.Path, search: ConfigDict) -> list[dict[str, Any]]:
  """The truth of the cell after each epoch, if a table knows it; its COUNTS."""
  data = search.data.name
  if not truth.note(search.space, data):
    return []
  cells = map(published.read, artifacts.read_lines(path / 'genotypes.jsonl'))
  return [
    {'epoch': epoch, **truth.row(cell, data), **truth.counts(cell)}
    for epoch, cell in enumerate(cells)
  ]


def _follow(workdir, searches):
  """Writes what the searches measured and found, epoch by epoch."""
  terms = [one.search.distill for one in searches]
  begin = min((t.warmup + 1 for t in terms if t.weight), default=None)
  marks = {'distillation begins': begin} if begin else {}
  for name, read in (('eigenvalues', measured), ('truth', looked_up)):
    rows = [
      {'method': one.name, 'seed': one.seed, **row}
      for one in searches
      for row in read(one.path, one.search)
    ]
    if rows:
      data = searches[0].search.data.name
      best = {truth.column(data): truth.optimum(data)}
      artifacts.write_rows(workdir / f'{name}.csv', rows)
      picture = spread.draw(rows, list(rows[0])[3:], 'epoch', marks, best)
      artifacts.write(workdir / f'{name}.png', picture)


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
  """Mean and deviation of what each variant came to.

  On NAS-Bench-201, Table 4 of the paper stands beside it.

  Args:
    rows: of study.csv.

  Returns:
    Rows of text, by title; titles that no variant fills are left out.
  """
  lines = []
  for name in dict.fromkeys(row['variant'] for row in rows):
    own = [row for row in rows if row['variant'] == name]
    line = {title: _told(own, *how) for title, how in _TITLES.items()}
    lines.append({'variant': name, **line})
  if any(line[title] for line in lines for title in _TRUTHS.values()):
    lines = list(_beside(lines))
  kept = [title for title in lines[0] if any(line[title] for line in lines)]
  return [{title: line[title] for title in kept} for line in lines]


def _told(rows, column, factor, digits):
  """A column's mean, with its deviation, or how many cells of it are filled."""
  cells = [row[column] for row in rows if row.get(column, '') != '']
  if digits is None or not cells:
    return f'{len(cells) or ""}'
  values = [factor * float(cell) for cell in cells]
  told = f'{np.mean(values):,.{digits}f}'
  if not digits or len(values) < 2:
    return told
  deviation = np.std(values, ddof=1)
  fewer = deviation >= 9.995  # as wide as the others
  return f'{told}±{deviation:.{digits - fewer}f}'


def _beside(lines):
  """Each variant's published row after it, the others, and the optimum."""
  blank = dict.fromkeys(lines[0], '')
  known = {
    name: {_TRUTHS[column]: cell for column, cell in cells.items()}
    for name, cells in truth.PUBLISHED.items()
  }
  rows = {k: blank | {'variant': f'{k} *'} | row for k, row in known.items()}
  for line in lines:
    yield line
    if line['variant'] in rows:
      yield rows.pop(line['variant'])
  yield from rows.values()
  best = {_TRUTHS[k]: f'{x:.2f}' for k, x in truth.optima().items()}
  yield blank | {'variant': 'optimum'} | best


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """What a summary leaves to be said, in lines."""
  told = {
    f'{row["variant"]} with seed {row["seed"]}: {row["selected"]}': None
    for row in rows
    if row.get('selected')
  }
  if any(row.get('index', '') != '' for row in rows):
    told['* as published in Table 4 of the paper'] = None
  return list(told)

"""What the runs of a study came to: its rows, its summary, its figures."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import pathlib
from typing import Any
from typing import NamedTuple

from ml_collections import ConfigDict
import numpy as np

from sdnas_jax.analysis import truth
from sdnas_jax.report import figures
from sdnas_jax.report import table
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import locks
from sdnas_jax.spaces import published
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import sharpness
from sdnas_jax.tasks import rank

MEASURES = *sharpness.NAMES, 'loss_drop'
# Columns of study.csv, by what the result.json of a search calls them.
SEARCHED = {
  'supernet_accuracy': 'valid_accuracy',
  'supernet_parameters': 'parameters',
  'search_seconds': 'seconds',
}
TRAINED = 'parameters', 'macs', 'seconds'
# A summary's titles: the column, what it is multiplied by, its digits.
TRUTHS = {k: f'{k.replace("-120", "")}, %' for k in truth.COLUMNS}
TITLES = {
  **{title: (name, 1, 2) for name, title in TRUTHS.items()},
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
  # Of the normal cell's operations.
  'skips': ('skips', 1, 1),
  'noise': ('noise', 1, 1),
}


class Run(NamedTuple):
  """A cell, searched or given, and its trainings, in a folder of its own."""

  path: pathlib.Path
  name: str
  seed: int
  trainings: tuple[ConfigDict, ...]
  search: ConfigDict | None = None
  cell: Any = None  # a genotype that was not searched
  # Or those whose best one's cell is taken, or of which one is made.
  among: tuple['Run', ...] = ()
  choose: Callable[[tuple['Run', ...]], Any] | None = None
  error: str = 'test_error'  # or what else a training ends with

  @property
  def trained(self) -> list[pathlib.Path]:
    """The folders of its trainings."""
    return [self.path / f'trained-{n}' for n in range(len(self.trainings))]

  @property
  def done(self) -> bool:
    """Whether it has come to its end, as far as this host can see."""
    return all(map(locks.done, self.trained or [self.path]))

  @property
  def genotype(self) -> Any:
    """Its cell, once it is known."""
    return published.find(f'{self.path}/genotype.json')


def best(among: Sequence[Run]) -> Run:
  """Of runs that are done, that whose trainings' mean error is the lowest."""

  def error(one):
    found = [artifacts.read_json(path / 'result.json') for path in one.trained]
    return np.mean([result['test_error'] for result in found])

  return min(among, key=error)


def write(workdir: pathlib.Path, runs: Sequence[Run], field: str) -> None:
  """Writes the tables and the figures of those runs that are done.

  Cells are compared by the values of a field of their search; '': by name.
  """
  rows = [row for one in runs for row in _rows(one, field)]
  if not rows:
    return
  names = dict.fromkeys(name for row in rows for name in row)
  _table(workdir / 'study.csv', rows, names)
  artifacts.write(workdir / 'study.md', table.markdown(summary(rows)))
  known = [row for row in rows if 'index' in row]
  names = 'seed', *truth.KNOWN, 'kendall_tau'
  _table(workdir / 'table.csv', known, names, method='variant')
  swept = [row for row in rows if field in row and 'accuracy' in row]
  names = 'seed', 'accuracy', 'supernet_accuracy', 'parameters'
  _table(workdir / 'ablation.csv', swept, names, value=field)
  swept = [{'method': 'mean', **r, 'seed': r['training_seed']} for r in swept]
  draw = functools.partial(figures.spread, names=['accuracy'], by=field)
  _draw(workdir / 'ablation.png', draw, swept)
  tested = [row for row in rows if field not in row and 'test_error' in row]
  shown = _table(
    workdir / 'comparison.csv',
    tested,
    ('test_error', *TRAINED),
    network='variant',
    seed='training_seed',
  )
  _draw(workdir / 'comparison.png', figures.strip, shown)
  _follow(workdir, [one for one in runs if one.search])
  _portray(workdir, [one for one in runs if not one.seed])


def _table(path, rows, names, **renamed):
  """Writes the columns renamed and named, if there are any rows."""
  columns = {**renamed, **{name: name for name in names}}
  shown = [{new: r.get(old, '') for new, old in columns.items()} for r in rows]
  if shown:
    artifacts.write_rows(path, shown)
  return shown


def _draw(path, draw, shown):
  if shown:
    artifacts.write(path, draw(shown))


def _rows(one, field):
  """A row for each training that is done, or for the search alone."""
  head = {'variant': one.name, 'seed': one.seed}
  rows = [_trained(path, one.error) for path in one.trained if locks.done(path)]
  if (one.trainings and not rows) or (one.search and not locks.done(one.path)):
    return []
  if one.among and not one.choose:
    head['selected'] = best(one.among).name
  if one.search:
    known = artifacts.flat(one.search.to_dict())
    head |= {field: known[field]} if field else {}
    # What it came to stands once, however often its cell is trained.
    first, *rest = rows or [{}]
    rows = [_searched(one.path, one.search) | first, *rest]
  return [head | row for row in rows]


def _trained(path, error):
  """What a training came to."""
  result = artifacts.read_json(path / 'result.json')
  return {
    'training_seed': result['seed'],
    error: result['test_error'],
    'accuracy': 1 - result['test_error'],
    **{name: result[name] for name in TRAINED},
  }


def _searched(path, search):
  """What a search came to."""
  result = artifacts.read_json(path / 'result.json')
  found = {name: result[key] for name, key in SEARCHED.items()}
  for row in measured(path)[-1:]:
    found |= {name: row[name] for name in MEASURES}
  cell = published.read(artifacts.read_json(path / 'genotype.json'))
  if normal := cell.graphs.get('normal'):
    kinds = [kind for kind, *_ in normal.edges]
    found['skips'] = kinds.count('skip_connect')
    if 'noise' in SPACES[search.space].primitives:
      found['noise'] = kinds.count('noise')
  if truth.note(search.space, search.data.name):
    found |= truth.scores(cell)
    ranked = path / 'rank.csv'
    if ranked.exists():
      found['kendall_tau'] = rank.tau(rank.read(ranked, search.data.name))
  return found


def measured(path: pathlib.Path) -> list[dict[str, Any]]:
  """The MEASURES of each epoch in which a search looked at itself."""
  return [
    {'epoch': int(row['epoch'])}
    | {name: float(row.get(name) or 'nan') for name in MEASURES}
    for row in artifacts.read_rows(path / 'metrics.csv')
    if row.get(MEASURES[0])
  ]


def looked_up(path: pathlib.Path, data: str) -> list[dict[str, Any]]:
  """The truth of the cell after each epoch, and its COUNTS."""
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
  space, data = searches[0].search.space, searches[0].search.data.name
  reads, highest = {'eigenvalues': measured}, {}
  if truth.note(space, data):
    reads['truth'] = functools.partial(looked_up, data=data)
    highest = {truth.column(data): truth.optimum(data)}
  done = [one for one in searches if locks.done(one.path)]
  for name, read in reads.items():
    rows = [
      {'method': one.name, 'seed': one.seed, **row}
      for one in done
      for row in read(one.path)
    ]
    if rows:
      artifacts.write_rows(workdir / f'{name}.csv', rows)
      picture = figures.spread(rows, list(rows[0])[3:], 'epoch', marks, highest)
      artifacts.write(workdir / f'{name}.png', picture)


def _portray(workdir, runs):
  """Draws the landscapes and the spectra beside one another."""
  for file, draw, read in (
    ('landscape.npz', figures.landscape, artifacts.read_arrays),
    ('spectrum.csv', figures.spectrum, artifacts.read_rows),
  ):
    there = {one.name: read(one.path / file) for one in runs}
    there = {name: found for name, found in there.items() if found}
    _draw((workdir / file).with_suffix('.png'), draw, there)


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
  """Mean and deviation of what each variant came to, from rows of study.csv.

  They are text, by title, the variant's name first; titles that no variant
  fills are left out. On NAS-Bench-201, the paper's Table 4 stands beside them.
  """
  lines = {}
  for name in dict.fromkeys(row['variant'] for row in rows):
    own = [row for row in rows if row['variant'] == name]
    lines[name] = {title: _told(own, *how) for title, how in TITLES.items()}
  first = 'variant'
  if any(line[title] for line in lines.values() for title in TRUTHS.values()):
    first, lines = '* published', _beside(lines)
  kept = [t for t in TITLES if any(line.get(t) for line in lines.values())]
  return [
    {first: name, **{title: line.get(title, '') for title in kept}}
    for name, line in lines.items()
  ]


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
  """Each variant's published line after it, the others', and the optimum."""
  table_4 = {
    f'{name} *': {TRUTHS[column]: cell for column, cell in cells.items()}
    for name, cells in truth.PUBLISHED.items()
  }
  both = {}
  for name, line in lines.items():
    both[name] = line
    if f'{name} *' in table_4:
      both[f'{name} *'] = table_4[f'{name} *']
  best = {
    TRUTHS[k]: f'{accuracy:.2f}' for k, accuracy in truth.optima().items()
  }
  return both | table_4 | {'optimum': best}

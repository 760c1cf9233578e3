"""report.html: what a run or a study left in its folder, on one page."""

import functools
import json
import pathlib
import statistics
from typing import Any

from ml_collections import ConfigDict

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.analysis import truth
from sdnas_jax.report import alphas
from sdnas_jax.report import cells
from sdnas_jax.report import figures
from sdnas_jax.report import page
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import check
from sdnas_jax.tasks import rank
from sdnas_jax.tasks import results

STARTS = 4  # of a cell's layout: there may be a hundred to draw


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool) -> None:
  """Writes the report of each folder that `config.runs` names, by commas."""
  del workdir  # A report lies beside what it shows.
  check.report(config)
  check.hosts(config)
  if not config.runs:
    raise errors.BadInput(
      'name the folders to report on, by commas, as '
      '--config.runs=runs/digits,runs/found'
    )
  folders = [pathlib.Path(name) for name in config.runs.split(',')]
  for folder in folders:
    _about(folder)
  for folder in folders if parallel.leads() else ():
    if not dry_run:
      write(folder)
    print(folder / 'report.html')


def write(folder: pathlib.Path) -> None:
  """Writes a folder's report.html from the files that are there.

  Raises:
    BadInput: if no run has left its config there.
  """
  about = _about(folder)
  config, versions = about['config'], about.get('versions', {})
  devices = ', '.join(about.get('devices', []))
  metrics = artifacts.read_rows(folder / 'metrics.csv')
  fields = {name: str(v) for name, v in artifacts.flat(config).items()}
  there = {
    name: artifacts.FILES[name]
    for name in artifacts.there(folder)
    if name != 'report.html'
  }
  sections = {
    'Result': _result(folder, config),
    'Runs': _runs(folder),
    'Cells': _cells(folder),
    'Alphas': _alphas(folder, config),
    'Losses and accuracies': _curves(config, metrics),
    'Truth': _truth(config, metrics),
    'Ranking': _ranking(folder, config),
    'Sharpness': _sharpness(folder),
    'Landscape': _picture(folder, 'landscape.png'),
    'Spectrum': _picture(folder, 'spectrum.png'),
    'Time': _time(metrics),
    'Config': [('facts', fields)],
    'Versions': [('facts', {**versions, 'devices': devices})],
    'Epochs': [('folded', 'every epoch', metrics)] if metrics else (),
    'Files': [('files', there)],
  }
  title = f'{config["task"]}: {folder.resolve().name}'
  artifacts.write(folder / 'report.html', page.page(title, sections))


def _about(folder):
  """What the run that has the folder has recorded of itself."""
  path = folder / 'config.json'
  try:
    about = json.loads(path.read_text())
    about['config']['task']
  except FileNotFoundError:
    raise errors.BadInput(
      f'{folder} holds no run: set config.runs to folders with a config.json'
    ) from None
  except (ValueError, KeyError, TypeError) as error:
    raise errors.BadInput(
      f'{path} is not the record of a run ({type(error).__name__}: {error}): '
      'set config.runs to other folders'
    ) from error
  return about


def _read(path: pathlib.Path) -> Any:
  return json.loads(path.read_text()) if path.exists() else {}


# The parts of each section, as page.page takes them.


def _result(folder, config):
  """A run's numbers, or a study's table and figures."""
  result = _read(folder / 'result.json')
  if result:
    yield 'facts', {k: v for k, v in result.items() if k != 'genotype'}
  elif config['task'] in ('search', 'evaluate'):
    yield 'text', 'Not finished: this is the state of its last epoch.'
  rows = artifacts.read_rows(folder / 'study.csv')
  if rows:
    yield 'table', results.summary(rows)
    yield 'folded', 'every run', rows
  for name in ('truth', 'comparison', 'ablation', 'eigenvalues'):
    rows = artifacts.read_rows(folder / f'{name}.csv')
    if rows:
      yield from _picture(folder, f'{name}.png')
      yield 'folded', 'all rows', rows


def _runs(folder):
  """What a study consists of: each run's report, and its cells."""
  below = [*folder.glob('*/report.html'), *folder.glob('*/*/report.html')]
  for path in sorted(below):
    name = path.parent.relative_to(folder).as_posix()
    genotype = _read(path.with_name('genotype.json'))
    yield 'run', name, _drawn(published.read(genotype)) if genotype else ()


def _cells(folder):
  """The cells, after each epoch if that is known."""
  genotype = _read(folder / 'genotype.json')
  if genotype:
    last = published.read(genotype)
    lines = artifacts.read_lines(folder / 'genotypes.jsonl')
    epochs = [(_told(g, last), _drawn(g)) for g in map(published.read, lines)]
    if len(epochs) > 1:
      # A method may have gone back to earlier cells.
      result = _read(folder / 'result.json')
      yield 'steps', epochs, result.get('genotype_epoch', len(epochs) - 1)
    else:
      yield 'cells', _drawn(last)


def _told(genotype, last):
  """How many edges of one genotype are not in the last."""
  count = sum(
    edge not in last.graphs[kind].edges
    for kind, cell in genotype.graphs.items()
    for edge in cell.edges
  )
  same = 'These are the cells that the search has found.'
  return f'{count} edges are not of the cells found.' if count else same


@functools.cache  # those of the runs are those of their study
def _drawn(genotype):
  """The kinds of a genotype's cells, each with its picture and that in words.

  They can be compared, as equal ones are shown once.
  """
  drawn = []
  for kind, cell in genotype.graphs.items():
    title = spaces.title(kind)
    words = f'{title}:\n{cells.text(cell)}'
    drawn.append((kind, cells.svg(cell, title, STARTS), words))
  return tuple(drawn)


def _alphas(folder, config):
  history = artifacts.read_arrays(folder / 'alphas.npz')
  if history:
    space = SPACES[config['space']]
    picture = alphas.heat({kind: history[kind] for kind in space.kinds}, space)
    yield 'image', picture, 'mixing weights of every edge over the epochs'


def _curves(config, metrics):
  panels = figures.SEARCH if config['task'] == 'search' else figures.TRAINING
  if metrics:
    yield 'image', figures.curves(metrics, panels), 'curves, epoch by epoch'


def _truth(config, metrics):
  """What each epoch's genotype reaches when trained, if a table knows."""
  if config['task'] != 'search' or not metrics:
    return
  space, data = config['space'], config['data']['name']
  note, column = truth.note(space, data), truth.column(data)
  if note:
    best = truth.optimum(data)
    rows = [{**row, 'optimum': best} for row in metrics]
    picture = figures.curves(rows, {'test accuracy': (column, 'optimum')})
    told = f"true test accuracy of every epoch's cell; the best is {best:.2%}"
    yield 'text', note
    yield 'image', picture, told


def _ranking(folder, config):
  """How well a supernet ranks the architectures of a table."""
  path = folder / 'rank.csv'
  if config['task'] == 'search' and path.exists():
    yield 'text', rank.told(rank.read(path, config['data']['name']))
    yield from _picture(folder, 'rank.png')


def _sharpness(folder):
  own = {'method': folder.resolve().name, 'seed': 0}
  rows = [own | row for row in results.measured(folder)]
  if rows:
    picture = figures.spread(rows, results.MEASURES)
    yield 'image', picture, 'eigenvalue, sharpness, gap and loss drop'


def _picture(folder, name):
  path = folder / name
  if path.exists():
    text = f'{path.stem} of {folder.resolve().name}, drawn'
    yield 'image', path.read_bytes(), text


def _time(metrics):
  if metrics:
    seconds = [float(row['seconds']) for row in metrics]
    facts = {
      'epochs': len(seconds),
      'seconds in all, without compilation': sum(seconds),
      'seconds an epoch, median': statistics.median(seconds),
    }
    if 'images_per_second' in metrics[0]:
      rates = [float(row['images_per_second']) for row in metrics]
      facts['training images a second, median'] = statistics.median(rates)
    yield 'facts', facts

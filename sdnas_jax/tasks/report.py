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
  config, named = about['config'], dict(about.get('versions', {}))
  named['devices'] = ', '.join(about.get('devices', []))
  metrics = artifacts.read_rows(folder / 'metrics.csv')
  panels = figures.SEARCH if config['task'] == 'search' else figures.TRAINING
  given = {k: str(v) for k, v in artifacts.flat(config).items()}
  sections = {
    'Result': _result(folder, config),
    'Runs': _runs(folder),
    'Cells': _cells(folder),
    'Alphas': _alphas(folder, config),
    'Losses and accuracies': metrics
    and page.image(figures.curves(metrics, panels), 'curves, epoch by epoch'),
    'Truth': _truth(config, metrics),
    'Ranking': _ranking(folder, config),
    'Sharpness': _sharpness(folder),
    'Landscape': _picture(folder, 'landscape.png'),
    'Spectrum': _picture(folder, 'spectrum.png'),
    'Time': _time(metrics),
    'Config': page.facts(given),
    'Versions': page.facts(named),
    'Epochs': metrics and page.folded('every epoch', page.table(metrics)),
    'Files': page.listed(
      f'{page.link(name, name)}: {what}'
      for name, what in artifacts.FILES.items()
      if (folder / name).exists() and name != 'report.html'
    ),
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


def _result(folder, config):
  """A run's numbers, or a study's table and figures."""
  result = _read(folder / 'result.json')
  parts = [page.facts({k: v for k, v in result.items() if k != 'genotype'})]
  if not result and config['task'] in ('search', 'evaluate'):
    parts = ['<p>Not finished: this is the state of its last epoch.</p>']
  rows = artifacts.read_rows(folder / 'study.csv')
  if rows:
    parts += [page.table(results.summary(rows))]
    parts += [page.folded('every run', page.table(rows))]
  for name in ('truth', 'comparison', 'ablation', 'eigenvalues'):
    rows = artifacts.read_rows(folder / f'{name}.csv')
    if rows:
      parts += [_picture(folder, f'{name}.png')]
      parts += [page.folded('all rows', page.table(rows))]
  return '\n'.join(part for part in parts if part)


def _runs(folder):
  """What a study consists of: each run's report, and its cells."""
  parts = []
  below = [*folder.glob('*/report.html'), *folder.glob('*/*/report.html')]
  for path in sorted(below):
    name = path.parent.relative_to(folder).as_posix()
    link = page.link(f'{name}/report.html', 'its own report')
    drawn = _drawn(json.dumps(_read(path.with_name('genotype.json'))))
    parts.append(page.folded(name, f'<p>{link}</p>{drawn}'))
  return '\n'.join(parts)


def _cells(folder):
  """The cells, after each epoch if that is known."""
  last = _read(folder / 'genotype.json')
  if not last:
    return ''
  every = artifacts.read_lines(folder / 'genotypes.jsonl')
  if len(every) < 2:
    return _drawn(json.dumps(last))
  frames = [
    _told(genotype, last) + _drawn(json.dumps(genotype)) for genotype in every
  ]
  # A method may have gone back to earlier cells.
  ended = _read(folder / 'result.json').get('genotype_epoch', len(every) - 1)
  return page.steps(frames, 'Epoch', ended)


def _told(genotype, last):
  """How many edges of one genotype are not in the last."""
  one, other = (published.read(each).graphs for each in (genotype, last))
  count = sum(
    edge not in other[kind].edges
    for kind, cell in one.items()
    for edge in cell.edges
  )
  same = 'These are the cells that the search has found.'
  return f'<p>{f"{count} edges are not of the cells found." if count else same}'


@functools.cache  # those of the runs are those of their study
def _drawn(said):
  """Pictures of the cells of a genotype, given as JSON; nothing for {}."""
  pictures, genotype = [], json.loads(said)
  graphs = published.read(genotype).graphs if genotype else {}
  for kind, cell in graphs.items():
    title = spaces.title(kind)
    picture = cells.svg(cell, title, STARTS)
    text = f'{title}:\n{cells.text(cell)}'
    pictures.append(f'<h3>{kind}</h3>{page.image(picture, text)}')
  return '\n'.join(pictures)


def _alphas(folder, config):
  history = artifacts.read_arrays(folder / 'alphas.npz')
  if not history:
    return ''
  space = SPACES[config['space']]
  tables = {kind: history[kind] for kind in space.kinds}
  return page.image(
    alphas.heat(tables, space), 'mixing weights of every edge over the epochs'
  )


def _truth(config, metrics):
  """What each epoch's genotype reaches when trained, if a table knows."""
  if config['task'] != 'search' or not metrics:
    return ''
  space, data = config['space'], config['data']['name']
  note, column = truth.note(space, data), truth.column(data)
  if not note:
    return ''
  best = truth.optimum(data)
  panels = {'test accuracy': (column, 'optimum')}
  rows = [{**row, 'optimum': best} for row in metrics]
  told = f"true test accuracy of every epoch's cell; the best is {best:.2%}"
  return f'<p>{note}</p>{page.image(figures.curves(rows, panels), told)}'


def _ranking(folder, config):
  """How well a supernet ranks the architectures of a table."""
  path = folder / 'rank.csv'
  if config['task'] != 'search' or not path.exists():
    return ''
  told = rank.told(rank.read(path, config['data']['name']))
  return f'<p>{told}</p>{_picture(folder, "rank.png")}'


def _sharpness(folder):
  own = {'method': folder.resolve().name, 'seed': 0}
  rows = [own | row for row in results.measured(folder)]
  return rows and page.image(
    figures.spread(rows, results.MEASURES),
    'eigenvalue, sharpness, gap and loss drop',
  )


def _picture(folder, name):
  path = folder / name
  if not path.exists():
    return ''
  text = f'{path.stem} of {folder.resolve().name}, drawn'
  return page.image(path.read_bytes(), text)


def _time(metrics):
  if not metrics:
    return ''
  seconds = [float(row['seconds']) for row in metrics]
  facts = {
    'epochs': len(seconds),
    'seconds in all, without compilation': sum(seconds),
    'seconds an epoch, median': statistics.median(seconds),
  }
  if 'images_per_second' in metrics[0]:
    rates = [float(row['images_per_second']) for row in metrics]
    facts['training images a second, median'] = statistics.median(rates)
  return page.facts(facts)

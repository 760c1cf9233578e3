"""report.html: what a run or a study left in its folder, on one page."""

import functools
import pathlib
import statistics

from ml_collections import ConfigDict

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.analysis import truth
from sdnas_jax.report import cells
from sdnas_jax.report import figures
from sdnas_jax.report import page
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.tasks import check
from sdnas_jax.tasks import fields
from sdnas_jax.tasks import rank
from sdnas_jax.tasks import results

STARTS = 4  # of a cell's layout: there may be a hundred to draw


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool | str) -> None:
  """Writes each folder's report, named by commas in `config.runs`, into it."""
  fields.every(artifacts.flat(config.to_dict()), fields.REPORT)
  check.hosts(config)
  if not config.runs:
    raise errors.BadInput(
      'name the folders to report on, by commas, as '
      '--config.runs=runs/digits,runs/found'
    )
  runs = [pathlib.Path(name) for name in config.runs.split(',')]
  for path in runs:
    folder.about(path)
  for path in runs if parallel.leads() else ():
    if not dry_run:
      write(path)
    print(path / 'report.html')


def write(workdir: pathlib.Path) -> None:
  """Writes a folder's report.html from the files that are there.

  Raises:
    BadInput: if no run has left its config there.
  """
  artifacts.write(workdir / 'report.html', made(workdir))


def made(workdir: pathlib.Path, tag: str = '') -> str:
  """The page itself, of a `page.page`'s tag."""
  about = folder.about(workdir)
  config, versions = about['config'], about.get('versions', {})
  devices = ', '.join(about.get('devices', []))
  named = {name: str(v) for name, v in artifacts.flat(config).items()}
  there = {
    name: artifacts.FILES[name]
    for name in artifacts.there(workdir)
    if name != 'report.html'
  }
  sections = {
    'Damage': _damage(workdir),
    'Result': _result(workdir, config),
    'Runs': _runs(workdir),
    'Cells': _cells(workdir),
    'Alphas': _picture(workdir, 'alphas.png'),
    'Losses and accuracies': _curves(workdir, config),
    'Truth': _truth(workdir, config),
    'Ranking': _ranking(workdir, config),
    'Sharpness': _sharpness(workdir),
    'Landscape': _picture(workdir, 'landscape.png'),
    'Spectrum': _picture(workdir, 'spectrum.png'),
    'Time': _time(workdir),
    'Data': _data(about.get('data')),
    'Config': [('facts', named)],
    'Versions': [('facts', {**versions, 'devices': devices})],
    'Epochs': _epochs(workdir),
    'Files': [('files', there)],
  }
  title = f'{config["task"]}: {workdir.resolve().name}'
  shown = {name: list(_whole(parts)) for name, parts in sections.items()}
  return page.page(title, shown, tag)


def _whole(parts):
  """Those that can be shown; of the first that cannot, why."""
  try:
    yield from parts
  except Exception as error:  # of whatever type a damaged file may raise
    told = str(error) or type(error).__name__
    print(f'left out of the report: {told}')
    yield 'text', f'Left out: {told}'


# The parts of each section, as page.page takes them.


def _damage(workdir):
  """What was changed since the run has written it."""
  if found := artifacts.broken(workdir):
    told = f'{", ".join(found)} is not as the run has left it'
    print(f'{workdir}: {told}')
    yield 'text', f'{told}: what is shown here may be wrong.'


def _result(workdir, config):
  """A run's numbers, or a study's table and figures."""
  result = artifacts.read_json(workdir / 'result.json')
  if result:
    yield 'facts', {k: v for k, v in result.items() if k != 'genotype'}
  elif config['task'] in ('search', 'evaluate'):
    yield 'text', 'Not finished: this is the state of its last epoch.'
  rows = artifacts.read_rows(workdir / 'study.csv')
  if rows:
    yield 'table', results.summary(rows)
    yield 'folded', 'every run', rows
  for name in ('truth', 'comparison', 'ablation', 'eigenvalues'):
    rows = artifacts.read_rows(workdir / f'{name}.csv')
    if rows:
      yield from _picture(workdir, f'{name}.png')
      yield 'folded', 'all rows', rows


def _runs(workdir):
  """What a study consists of: each run's report, and its cells."""
  below = [*workdir.glob('*/report.html'), *workdir.glob('*/*/report.html')]
  for path in sorted(below):
    name = path.parent.relative_to(workdir).as_posix()
    genotype = artifacts.read_json(path.with_name('genotype.json'))
    yield 'run', name, _drawn(published.read(genotype)) if genotype else ()


def _data(known):
  """What the images are of which the run has left a record."""
  if known:
    # Older records know no names.
    names = known.get('names') or [known['classes']]
    yield (
      'facts',
      {
        'images': ' x '.join(map(str, known['shape'])),
        'classes': ', '.join(map(str, names)),
        'to train on': known['examples'],
        'to test on': known['tests'],
      },
    )


def _cells(workdir):
  """The cells, after each epoch if that is known."""
  genotype = artifacts.read_json(workdir / 'genotype.json')
  if genotype:
    last = published.read(genotype)
    lines = artifacts.read_lines(workdir / 'genotypes.jsonl')
    epochs = [(_told(g, last), _drawn(g)) for g in map(published.read, lines)]
    # A method may have gone back to earlier cells.
    result = artifacts.read_json(workdir / 'result.json')
    found = result.get('genotype_epoch', len(epochs) - 1)
    if 1 < len(epochs) > found:  # else some are lost
      yield 'steps', epochs, found
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


def _epochs(workdir):
  if rows := artifacts.read_rows(workdir / 'metrics.csv'):
    yield 'folded', 'every epoch', rows


def _curves(workdir, config):
  metrics = artifacts.read_rows(workdir / 'metrics.csv')
  panels = figures.SEARCH if config['task'] == 'search' else figures.TRAINING
  if metrics:
    yield 'image', figures.curves(metrics, panels), 'curves, epoch by epoch'


def _truth(workdir, config):
  """What each epoch's genotype reaches when trained, if a table knows."""
  metrics = artifacts.read_rows(workdir / 'metrics.csv')
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


def _ranking(workdir, config):
  """How well a supernet ranks the architectures of a table."""
  path = workdir / 'rank.csv'
  if config['task'] == 'search' and path.exists():
    yield 'text', rank.told(rank.read(path, config['data']['name']))
    yield from _picture(workdir, 'rank.png')


def _sharpness(workdir):
  own = {'method': workdir.resolve().name, 'seed': 0}
  rows = [own | row for row in results.measured(workdir)]
  if rows:
    picture = figures.spread(rows, results.MEASURES)
    yield 'image', picture, 'eigenvalue, sharpness, gap and loss drop'


def _picture(workdir, name):
  path = workdir / name
  if path.exists():
    text = f'{path.stem} of {workdir.resolve().name}, drawn'
    yield 'image', path.read_bytes(), text


def _time(workdir):
  if metrics := artifacts.read_rows(workdir / 'metrics.csv'):
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

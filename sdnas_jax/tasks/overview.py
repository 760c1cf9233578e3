"""All runs of a folder on one page, with what they have come to.

>>> overview.write(pathlib.Path('runs'))  # runs/index.html
"""

from collections.abc import Iterator
from collections.abc import Sequence
import datetime
import pathlib
from typing import Any
from typing import NamedTuple

from sdnas_jax import errors
from sdnas_jax.report import page
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder

DEEPEST = 3  # folders below: a study's runs have trainings
TITLES = (
  *('task', 'method', 'space', 'data', 'epochs', 'accuracy, %'),
  *('parameters', 'seconds', 'last change'),
)


class Cell(NamedTuple):
  """A value to sort by, and how it is shown."""

  value: Any = ''
  words: str = ''


class Row(NamedTuple):
  """A run: its path from the folder, whether it has a page, its columns."""

  path: str
  linked: bool
  cells: tuple[Cell, ...]


def write(root: pathlib.Path) -> pathlib.Path:
  """Writes the page of a folder, with links to the reports that there are.

  Raises:
    BadInput: there is no such folder.
  """
  path = root / 'index.html'
  artifacts.write(path, made(root, rows(root)))
  return path


def made(root: pathlib.Path, shown: Sequence[Row], tag: str = '') -> str:
  """The page itself, from `rows`, of a `page.page`'s tag."""
  told = 'No run has begun below this folder.'
  parts = [('runs', TITLES, shown)] if shown else [('text', told)]
  return page.page(f'runs in {root.resolve().name}', {'Runs': parts}, tag)


def rows(root: pathlib.Path) -> list[Row]:
  """The runs in a folder and in those below.

  Raises:
    BadInput: there is no such folder.
  """
  if not root.is_dir():
    raise errors.BadInput(f'there is no folder {root}: give one that has runs')
  return [
    Row(
      path.relative_to(root).as_posix(),
      (path / 'report.html').exists(),
      tuple(columns(path)),
    )
    for path in runs(root)
  ]


def runs(root: pathlib.Path) -> Iterator[pathlib.Path]:
  """The folders of runs in one, and in those below."""
  for depth in range(DEEPEST + 1):
    for path in sorted(root.glob('*/' * depth + 'config.json')):
      yield path.parent


def columns(path: pathlib.Path) -> list[Cell]:
  """What a run is and has come to; of damaged files, nothing."""
  try:
    config, result = folder.about(path)['config'], {}
    result = artifacts.read_json(path / 'result.json')
    epochs = artifacts.read_rows(path / 'metrics.csv')
  except errors.BadInput as error:
    return [
      Cell('damaged', errors.cut(str(error).replace(f'{path}/', ''), 200))
    ] + [Cell()] * 8
  own = config.get('search', config)  # of a study
  taught = 'sd_' * bool(own.get('distill', {}).get('weight'))
  method = own.get('method', '')
  names = config['task'], taught * bool(method) + method, own.get('space', '')
  data = own.get('data', {}).get('name', '')
  return [
    *(Cell(name, name) for name in (*names, data)),
    _epochs(config, result, len(epochs)),
    _accuracy(result, epochs),
    _number(result.get('parameters'), '{:,.0f}'),
    _number(result.get('seconds'), '{:,.0f}'),
    _changed(path),
  ]


def _epochs(config, result, done):
  """How far it is."""
  if config['task'] == 'study':
    return Cell()
  if result:
    return Cell(done, str(done))
  return Cell(done, f'{done} of {config.get("epochs", "?")}, not finished')


def _accuracy(result, epochs):
  """On the test images of a training, else on the alphas' half; the last."""
  found = {**(epochs[-1] if epochs else {}), **result}
  if found.get('test_error', '') != '':
    return _number(100 * (1 - float(found['test_error'])), '{:.2f} (test)')
  return _number(100 * float(found.get('valid_accuracy') or 0), '{:.2f}')


def _number(value, form):
  return Cell(value, form.format(value)) if value else Cell()


def _changed(path):
  """When it last wrote something, in the time of this place."""
  there = [path / name for name in artifacts.there(path)]
  last = max(file.stat().st_mtime for file in there if file.exists())
  when = datetime.datetime.fromtimestamp(last)
  return Cell(int(last), f'{when:%Y-%m-%d %H:%M}')

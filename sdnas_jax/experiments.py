"""Config files, which are the record of an experiment: found and run.

>>> config = experiments.load('configs/search_digits.py')
>>> config.epochs
16
"""

from collections.abc import Iterator
import contextlib
import difflib
import os
import pathlib
import runpy
import sys
import traceback
import types

from ml_collections import ConfigDict

from sdnas_jax import errors


def folder() -> pathlib.Path:
  """The configs': in the installed package, or beside it in a checkout."""
  here = pathlib.Path(__file__).parent
  inside = here / 'configs'
  return inside if inside.is_dir() else here.parent / 'configs'


def find(path: str) -> pathlib.Path:
  """The file at a path, or the one of ours that it names: configs/NAME.py."""
  place, name = os.path.split(path)
  ours = folder() / name
  if place == 'configs' and not os.path.isfile(path) and ours.is_file():
    return ours
  return pathlib.Path(path)


def there(path: str) -> pathlib.Path:
  """What `find` finds.

  Raises:
    ValueError: there is no such file; the message offers one.
  """
  file = find(path)
  if not os.path.isfile(file):
    known = [str(other) for other in sorted(file.parent.glob('*.py'))]
    known += [f'configs/{other.name}' for other in folder().glob('*.py')]
    near = difflib.get_close_matches(str(file), known, n=1)
    hint = f'did you mean {near[0]}?' if near else 'see configs/'
    raise ValueError(f'no config file {errors.cut(str(file), 200)}: {hint}')
  return file


def load(path: str) -> ConfigDict:
  """Calls a file's get_config(), with what stands behind a colon in `path`.

  Raises:
    ValueError: whatever is wrong with the file, in a sentence.
  """
  name, *setting = path.split(':', 1)
  file = str(find(name))
  try:
    with _importable(os.path.dirname(os.path.abspath(file))):
      made = runpy.run_path(file).get('get_config')
      config = made(*setting) if callable(made) else None
  except KeyboardInterrupt:
    raise
  except BaseException as error:  # a SystemExit, too
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    where = f'line {lines[-1]}: ' if lines else ''
    raise ValueError(f'{where}{errors.told(error)}') from error
  if not isinstance(config, ConfigDict):
    told = errors.short(config) if callable(made) else 'no function'
    raise ValueError(f'its get_config() must return a ConfigDict, not {told}')
  try:
    return ConfigDict(config).unlock()
  except TypeError as error:  # it sorts them
    raise ValueError(f'name all its fields by text ({error})') from error


@contextlib.contextmanager
def _importable(own: str) -> Iterator[None]:
  """Lets a config say `from configs import search_cifar`, wherever it runs.

  What lies beside it in a `configs` of its own comes first. Another package of
  that name, which a program may have imported, is there again afterwards.
  """
  package, kept = types.ModuleType('configs'), _taken()
  beside = [own] if os.path.basename(own) == 'configs' else []
  package.__path__ = [*beside, str(folder())]
  sys.modules['configs'] = package
  try:
    yield
  finally:
    _taken()
    sys.modules.update(kept)


def _taken():
  """Takes `configs` and what it holds out of the modules."""
  names = [name for name in sys.modules if name.split('.')[0] == 'configs']
  return {name: sys.modules.pop(name) for name in names}

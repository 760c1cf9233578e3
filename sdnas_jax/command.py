"""From the command line to an experiment's config.

config, workdir, dry_run = command.read(sys.argv)
"""

from collections.abc import Iterator
from collections.abc import Mapping
import difflib
import os
import pathlib
import re
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags
from ml_collections import ConfigDict

from sdnas_jax import errors
from sdnas_jax import experiments

CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'The experiment: a file that defines get_config().',
  # A method's options are known once it is; unknown fields are refused then.
  lock_config=False,
  accept_new_attributes=True,
)
WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where everything goes; by default runs/<config name>.'
)
DRY_RUN = flags.DEFINE_bool(
  'dry_run',
  False,
  'Build from shapes alone, write plan.json, and stop; with --dry_run=memory '
  'compile, too, and plan the memory.',
)
LIST = flags.DEFINE_bool(
  'list', False, 'Say what methods, spaces, data sets and configs there are.'
)


class Experiment(flags.ArgumentParser):
  """Runs a config file; whatever comes of that is a config or a ValueError."""

  def parse(self, path: str) -> ConfigDict:
    """Calls its get_config(); flags may set more fields than that has."""
    config = experiments.load(path)
    _open(config)
    return config


class Dry(flags.BooleanParser):
  """Yes, no, or 'memory'."""

  def parse(self, given: bool | str) -> bool | str:
    return given if given == 'memory' else super().parse(given)


flags.FLAGS['config'].parser = Experiment()
flags.FLAGS['dry_run'].parser = Dry()


def _open(config):
  """Adds the sections of fields set by flags, which are checked later."""
  for flag in sys.argv:
    field = re.match(r'--?(?:no)?config\.([^=]*)', flag)
    if field and not re.match(r'[^\W\d]\w*([.[].*)?$', field[1]):
      raise ValueError(f'{errors.cut(flag)} names no field')
    section, name = config, '--config'
    plain = field and re.fullmatch(r'([\w.]+)\.\w+', field[1])
    for part in plain[1].split('.') if plain else ():
      if part not in section:
        section[part] = ConfigDict()
      section, name = section[part], f'{name}.{part}'
      if not isinstance(section, ConfigDict):
        told = errors.short(section)
        raise ValueError(f'{errors.cut(name)} has no fields: it is {told}')


def read(argv: list[str]) -> tuple[ConfigDict, pathlib.Path, bool | str]:
  """The config, the folder, and whether it is only a dry run, or 'memory'.

  Raises:
    BadInput: of whatever is wrong with a flag or the config file.
    OSError: a file cannot be read.
  """
  try:
    name, config = _parse(argv)
    workdir = _folder(WORKDIR.value or f'runs/{name}')
  except (errors.BadInput, OSError):
    raise
  except Exception as error:  # Whatever a flag or a config file may raise.
    raise errors.BadInput(_sentence(error)) from error
  return config, workdir, DRY_RUN.value


def _parse(argv):
  """The config file's name without its ending, and its config."""
  # A missing file makes every other flag fail first, so it is looked for here.
  given = re.findall(r'^--?config[=\n](.*)$', '\n'.join(argv), re.MULTILINE)
  if not given:
    raise ValueError('name an experiment, as --config=configs/search_digits.py')
  file = experiments.there(given[-1].split(':')[0])
  for flag in argv:
    if len(flag.partition('=')[0]) > 300:  # which absl cannot compare
      raise ValueError(f'unknown flag {errors.cut(flag)}: see --help')
  rest = flags.FLAGS(argv)
  if len(rest) > 1:
    raise ValueError(f'unexpected argument {rest[1]!r}: flags begin with --')
  config = _settled(CONFIG.value.to_dict(), 'config')
  return file.stem, ConfigDict(config)


def _settled(value, name):
  """A config's value, with names for its fields and folders for its `~`."""
  if isinstance(value, Mapping | ConfigDict):
    for key in value:
      if not isinstance(key, str):
        raise ValueError(
          f'{name} has a field {errors.short(key)}: name fields by text'
        )
    return {k: _settled(v, f'{name}.{k}') for k, v in value.items()}
  if isinstance(value, tuple | list):
    return type(value)(_settled(v, f'{name}[{n}]') for n, v in enumerate(value))
  if isinstance(value, str):  # some are several paths
    return ','.join(map(home, value.split(',')))
  if not isinstance(value, int | float | None):
    raise ValueError(
      f'{name} must be a number, text, tuple or section, not '
      f'{errors.short(value)}'
    )
  return value


def home(path: str) -> str:
  """A path with its `~` written out."""
  found = os.path.expanduser(path)
  if found.startswith('~'):
    path = errors.cut(path)
    raise ValueError(f'no home is known for {path}: write the whole path')
  return found


def _folder(name):
  """The path of a --workdir."""
  if re.match(r'[A-Za-z][A-Za-z0-9+.-]+:/', name):
    name = errors.cut(name)
    raise ValueError(f'--workdir={name} is remote: give a local folder')
  path = pathlib.Path(home(name))
  try:
    path.exists()
  except OSError as error:
    raise ValueError(
      f'{errors.cut(name)}: {error.strerror}: choose another --workdir'
    ) from error
  return path


def _sentence(error):
  """Of what the flags or a config file raised."""
  if not isinstance(error, ValueError | flags.Error):
    return errors.told(error)
  if isinstance(error, flags.UnrecognizedFlagError):
    known = ['config', 'workdir', 'dry_run', 'list', *_fields(CONFIG.value)]
    near = [name for name in known if name.endswith(f'.{error.flagname}')]
    near += difflib.get_close_matches(error.flagname, known, n=1)
    hint = f'did you mean --{near[0]}?' if near else 'see --help'
    return f'unknown flag --{error.flagname}: {hint}'
  text = errors.cut(str(error), 600)
  wrong = re.match(r'flag --(config\.[^=]+)=', text)
  if wrong and wrong[1] in flags.FLAGS:
    kind = flags.FLAGS[wrong[1]].parser.flag_type()
    kind = {'string': 'dict'}.get(kind, kind)  # all is a string
    return f'{wrong[1]} must be of type {kind}: {text}'
  return text


def _fields(section: Mapping[str, Any], name='config') -> Iterator[str]:
  for key, value in section.items():
    own = f'{name}.{key}'
    yield from _fields(value, own) if isinstance(value, ConfigDict) else [own]

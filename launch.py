"""Runs an experiment: flags -> config -> one task.

  python launch.py --config=configs/search_digits.py --workdir=runs/digits

Any field of the config can be set from the command line, for example
--config.distill.teachers=3. The same command on the same folder resumes; on
every host of a cluster, it runs on all of their devices.
"""

# ruff: noqa: E402 - a Ctrl-C during the imports is heard, too
import os
import signal
import sys


def _leave(number, frame):
  """Ends a process that has nothing to save yet.

  At once, as the libraries that are being imported make of a KeyboardInterrupt
  what they like.
  """
  print('stopped before it began', file=sys.stderr, flush=True)
  os._exit(128 + number)


if __name__ == '__main__':
  signal.signal(signal.SIGINT, _leave)

from collections.abc import Iterator
from collections.abc import Mapping
import difflib
import importlib
import pathlib
import re
import runpy
import subprocess
import traceback
from typing import Any

from absl import flags
from ml_collections import config_flags
from ml_collections import ConfigDict

from sdnas_jax import errors

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
  'dry_run', False, 'Build from shapes alone, write plan.json, and stop.'
)

LIST = flags.DEFINE_bool(
  'list', False, 'Say what methods, spaces, data sets and configs there are.'
)


class Experiment(flags.ArgumentParser):
  """Runs a config file; whatever comes of that is a config or a ValueError."""

  def parse(self, path: str) -> ConfigDict:
    """Calls get_config(), with what stands behind a colon in `path`."""
    file, *setting = path.split(':', 1)
    try:
      made = runpy.run_path(file).get('get_config')
      config = made(*setting) if callable(made) else None
    except KeyboardInterrupt:
      raise
    except BaseException as error:  # a SystemExit, too
      frames = traceback.extract_tb(error.__traceback__)
      lines = [frame.lineno for frame in frames if frame.filename == file]
      where = f'line {lines[-1]}: ' if lines else ''
      raise ValueError(f'{where}{_told(error)}') from error
    if not isinstance(config, ConfigDict):
      told = errors.short(config) if callable(made) else 'no function'
      raise ValueError(f'its get_config() must return a ConfigDict, not {told}')
    try:
      config = ConfigDict(config)
    except TypeError as error:  # it sorts them
      raise ValueError(f'name all its fields by text ({error})') from error
    config.unlock()
    _open(config)
    return config


flags.FLAGS['config'].parser = Experiment()


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


def main(argv: list[str]) -> int:
  """Returns the exit code: 0, 1 (failed), 2 (bad input), 128 + signal."""
  if hasattr(sys.stdout, 'reconfigure'):
    sys.stdout.reconfigure(errors='replace')  # not all terminals know a '±'
  try:
    return _asked(argv)
  except errors.BadInput as error:
    return _end(f'error: {error}', 2)
  except (MemoryError, OSError) as error:
    _hush()
    kept = 'what was saved stays: mend this and run it again'
    return _end(f'error: {_told(error)}; {kept}', 1)
  except KeyboardInterrupt:
    return _end('stopped; run the same command to go on', 130)


def _asked(argv):
  if {'-h', '--help', '-help'} & set(argv):
    return _tell(__doc__, flags.FLAGS.main_module_help())
  try:
    if {'--list', '-list'} & set(argv):
      return _list()
    name, config = parse(argv)
    workdir = _folder(WORKDIR.value or f'runs/{name}')
  except (errors.BadInput, OSError):
    raise
  except Exception as error:  # Whatever a flag or a config file may raise.
    raise errors.BadInput(_sentence(error)) from error
  return _run(config, workdir)


def _list():
  _prepare()
  from sdnas_jax.tasks import catalogue

  return _tell(*catalogue.lines(pathlib.Path('configs')))


def parse(argv: list[str]) -> tuple[str, ConfigDict]:
  """Parses the flags: the config file's name without its ending, its config.

  Raises:
    Exception: of whatever type the flag or the config file that is wrong.
  """
  # A missing file makes every other flag fail first, so it is looked for here.
  given = re.findall(r'^--?config[=\n](.*)$', '\n'.join(argv), re.MULTILINE)
  if not given:
    raise ValueError('name an experiment, as --config=configs/search_digits.py')
  file = pathlib.Path(given[-1].split(':')[0])
  if not os.path.isfile(file):
    known = [str(other) for other in sorted(file.parent.glob('*.py'))]
    near = difflib.get_close_matches(str(file), known, n=1)
    hint = f'did you mean {near[0]}?' if near else 'see configs/'
    raise ValueError(f'no config file {errors.cut(str(file), 200)}: {hint}')
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
    return ','.join(map(_home, value.split(',')))
  if not isinstance(value, int | float | None):
    raise ValueError(
      f'{name} must be a number, text, tuple or section, not '
      f'{errors.short(value)}'
    )
  return value


def _home(path):
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
  path = pathlib.Path(_home(name))
  try:
    path.exists()
  except OSError as error:
    raise ValueError(
      f'{errors.cut(name)}: {error.strerror}: choose another --workdir'
    ) from error
  return path


def _run(config, workdir):
  """Runs the task that the config names."""
  _prepare()
  import jax

  from sdnas_jax import malloc
  from sdnas_jax import parallel
  from sdnas_jax.runs import loop
  from sdnas_jax.tasks import TASKS

  try:
    malloc.keep()
    parallel.start()
    errors.pick('task', config.get('task', ''), TASKS)
    TASKS[config.task].run(config, workdir, DRY_RUN.value)
  except errors.Diverged as error:
    return _end(f'{error}', 1)
  except loop.Interrupted as stop:
    return _end(f'{stop}; run the same command to go on', 128 + stop.number)
  except jax.errors.JaxRuntimeError as error:
    # Some tell of every buffer, in lines of their own.
    told = (str(error).strip() or 'it does not say why').splitlines()[0]
    hint = ''
    if 'RESOURCE_EXHAUSTED' in told:
      hint = ': lower batch_size, model.channels or model.layers'
    return _end(f'error: the device failed ({told}){hint}', 1)
  return 0


def _prepare():
  """Imports what a task needs, seconds after the flags are known to be good.

  Raises:
    BadInput: a library is missing, or refuses its environment variables.
  """
  os.environ.pop('MPLBACKEND', None)  # figures are files
  try:
    if 'XLA_FLAGS' in os.environ and 'jax' not in sys.modules:
      _try_xla()
    if where := os.environ.get('TFDS_DATA_DIR'):
      os.environ['TFDS_DATA_DIR'] = _home(where)
    importlib.import_module('sdnas_jax.tasks')
  except Exception as error:
    raise errors.BadInput(
      f'cannot start ({_told(error)}): mend the environment variables, or '
      'install the requirements again'
    ) from error
  if signal.getsignal(signal.SIGINT) is _leave:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _try_xla():
  """Lets another process read XLA_FLAGS, as XLA aborts the one that does."""
  read = 'import jaxlib._jax as x; x.CompileOptions().executable_build_options'
  done = subprocess.run(
    [sys.executable, '-c', f'{read}.debug_options'],
    capture_output=True,
    text=True,
  )
  told = re.search(r'^[EF]\d{4} .*?\] (.*)', done.stderr, re.MULTILINE)
  if done.returncode and told:
    raise ValueError(f'XLA_FLAGS: {told[1]}')


def _sentence(error):
  """Of what the flags or a config file raised."""
  if not isinstance(error, ValueError | flags.Error):
    return _told(error)
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


def _told(error):
  """An exception in words."""
  try:
    text = errors.cut(str(error), 300)
  except Exception:  # of a class of the user's own
    text = ''
  return f'{type(error).__name__}: {text}' if text else type(error).__name__


def _tell(*lines):
  try:
    print(*lines, sep='\n', flush=True)
  except BrokenPipeError:  # a reader such as `head` has enough
    _hush()
  return 0


def _hush():
  """Forgets what cannot be printed, of which Python would tell at its end."""
  try:
    sys.stdout.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(sentence, code):
  """Tells why it ends, on one line in which no name is without end."""
  words = (errors.cut(word, 300) for word in sentence.split())
  print(*words, file=sys.stderr)
  return code


if __name__ == '__main__':
  sys.exit(main(sys.argv))

"""Runs an experiment: flags -> config -> one task.

  python launch.py --config=configs/search_digits.py --workdir=runs/digits

Any field of the config can be set from the command line, for example
--config.distill.teachers=3. The same command on the same folder resumes; on
every host of a cluster, it runs on all of their devices.
"""

import difflib
import os
import pathlib
import re
import sys

from absl import flags
from ml_collections import config_flags

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


def main(argv: list[str]) -> int:
  """Returns the exit code: 0, 1 (failed), 2 (bad input), 128 + signal."""
  if {'-h', '--help', '-help'} & set(argv):
    return _tell(__doc__, flags.FLAGS.main_module_help())
  if {'--list', '-list'} & set(argv):
    from sdnas_jax.tasks import catalogue

    return _tell(*catalogue.lines(pathlib.Path('configs')))
  try:
    name = parse(argv)
  except Exception as error:  # Whatever a flag or a config file may raise.
    return _refuse(_sentence(error))
  from sdnas_jax import errors  # heavy: after the flags are known to be good
  from sdnas_jax import parallel
  from sdnas_jax.runs import loop
  from sdnas_jax.tasks import TASKS

  workdir = pathlib.Path(WORKDIR.value or f'runs/{name}')
  try:
    parallel.start()
    config = CONFIG.value
    errors.pick('task', config.get('task', ''), TASKS)
    TASKS[config.task].run(config, workdir, DRY_RUN.value)
  except errors.BadInput as error:
    return _refuse(str(error))
  except errors.Diverged as error:
    print(f'{error}', file=sys.stderr)
    return 1
  except loop.Interrupted as stop:
    print(f'{stop}; run the same command to go on', file=sys.stderr)
    return 128 + stop.number
  except OSError as error:
    print(
      f'error: {error}; what was saved stays: mend this and run it again',
      file=sys.stderr,
    )
    return 1
  except KeyboardInterrupt:
    print('stopped; run the same command to go on', file=sys.stderr)
    return 130
  return 0


def parse(argv: list[str]) -> str:
  """Parses the flags; returns the config file's name without its ending.

  Raises:
    Exception: of whatever type the flag or the config file that is wrong.
  """
  # A missing file makes every other flag fail first, so it is looked for here.
  given = re.findall(r'^--?config[=\n](.*)$', '\n'.join(argv), re.MULTILINE)
  if not given:
    raise ValueError('name an experiment, as --config=configs/search_digits.py')
  file = pathlib.Path(given[-1].split(':')[0])
  if not file.is_file():
    known = [str(other) for other in sorted(file.parent.glob('*.py'))]
    near = difflib.get_close_matches(str(file), known, n=1)
    hint = f'did you mean {near[0]}?' if near else 'see configs/'
    raise ValueError(f'no config file {file}: {hint}')
  rest = flags.FLAGS(argv)
  if len(rest) > 1:
    raise ValueError(f'unexpected argument {rest[1]!r}: flags begin with --')
  CONFIG.value.get('task')  # a file that failed to load says so only now
  return file.stem


def _sentence(error: Exception) -> str:
  text = str(error)
  if isinstance(error, KeyError | AttributeError):
    # An unknown field's message is quoted, once or twice, around its name.
    text = text.replace('\\n', ' ').translate({39: None, 92: None})
    if text.split()[0].isidentifier():
      text = f'unknown config field {text}'
  if 'Traceback (most recent call last)' in text:
    text = text.strip().splitlines()[-1]  # what a config file raised
  return ' '.join(text.split()) or type(error).__name__


def _tell(*lines: str) -> int:
  try:
    print(*lines, sep='\n', flush=True)
  except BrokenPipeError:  # a reader such as `head` has enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  return 0


def _refuse(sentence: str) -> int:
  print(f'error: {sentence}', file=sys.stderr)
  return 2


if __name__ == '__main__':
  sys.exit(main(sys.argv))

"""Calls launch.py wrongly, each time with a dry run.

  python -m tests.torture.calls --count=1000 --seed=0

Flags, values, config files, stages, options and the variants of studies are
changed at random. A fault is an exception that leaves `main`, an exit code that
is none of its own, more than a line of error, or a call longer than a minute.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import io
import json
import os
import pathlib
import random
import runpy
import signal
import sys
import types

from absl.testing import flagsaver

from sdnas_jax import command  # noqa: F401 - defines the flags
from sdnas_jax import errors
from sdnas_jax import launch
from sdnas_jax import methods
from sdnas_jax import parallel
from sdnas_jax.runs import artifacts
from sdnas_jax.tasks import TASKS
from tests import torture
from tests.spaces import published_test

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
NAMES = (
  *('search_digits', 'search_nasbench201', 'search_p_darts:digits', 'demo'),
  *('search_darts_pt:digits', 'evaluate_digits', 'evaluate_nasbench201'),
  *('ablation_warmup', 'search_cifar', 'evaluate_imagenet', 'report'),
)
FILE = """
import json
from ml_collections import ConfigDict
def get_config():
  made = json.loads({text!r})
  if isinstance(made, dict) and isinstance(made.get('stages'), list):
    made['stages'] = tuple(made['stages'])
  return ConfigDict(made)
"""
FLAGS = (
  *('', '-', '--', '---', '-x', 'x', '--=', '--config', '--workdir', '--help'),
  *('--list', '--nolist', '--dry_run=maybe', '--nodry_run', '--flagfile=/x'),
  *('--config.', '--noconfig.seed', '--config.seed', '--config.x.y.z=1'),
  *('--undefok=x', '--helpfull', '--helpxml', '--v=x', '--only_check_args'),
  *('--config.stages[0]=1', '--config.data[name]=1', '--flagfile=launch.py'),
  *('--config=', '--config=.', '--config=/dev/null', '--config=launch.py'),
  *('--workdir=', '--workdir=/dev/null/x', '--workdir=~', '--workdir=..\n'),
)
VALUES = (
  *('', '0', '-1', '1', '2', '17', '1000', '10000000', '0.5', '1e-30', 'nan'),
  *('-inf', 'True', 'None', '()', '({},)', "({'epochs': 2},)", '[', '9' * 5000),
  *('darts', 'sgas', 'cifar10', 'arrays', 'nasbench201', 'native', 'x' * 999),
  *('search', 'study', 'report', 'DARTS_V2', '9', '/', '~x', 'a,b', '\udcff'),
)
LONGEST = 60  # seconds


class Late(BaseException):
  """A call takes too long."""


def config(name: str) -> dict:
  """The fields of a file in configs/."""
  file, *setting = name.split(':')
  made = runpy.run_path(str(CONFIGS / f'{file}.py'))['get_config'](*setting)
  return made.to_dict()


def wrong_flag(rng, fields):
  """Any flag, or a field with a value that it may not have."""
  if rng.random() < 0.3:
    return rng.choice(FLAGS)
  name = rng.choice([*artifacts.flat(fields), 'options.interval', 'stages'])
  flag = f'--config.{name}={rng.choice(VALUES)}'
  if rng.random() < 0.2:
    flag = torture.mangled(rng, flag.encode('utf-8', 'surrogateescape'))
    flag = flag.decode('utf-8', 'surrogateescape').replace('\0', '')
  return flag


def wrong_file(rng, fields, path):
  """Writes a config file, some of whose fields are wrong."""
  fields = json.loads(json.dumps(fields))
  known = [name for name in artifacts.flat(fields) if '.' in name]
  name, value = rng.choice(known or ['x']), rng.choice(published_test.ODD)
  odd = {name: value}
  if 'stages' in fields and rng.random() < 0.5:
    fields['stages'] = [{}, *rng.choices([{}, odd, {'epochs': 3}], k=2)]
  if 'method' in fields and rng.random() < 0.3:
    fields['method'] = rng.choice([*methods.METHODS])
    name = rng.choice(['interval', 'warmup', 'seed', 'tau_max', 'partial'])
    fields['options'][name] = rng.choice(published_test.ODD)
  if 'variants' in fields and rng.random() < 0.5:
    change = value
    for part in reversed(name.split('.')):  # the first is search or evaluate
      change = {part: change}
    fields['variants'] = {'A': {}, 'B': change}
  if rng.random() < 0.6:
    fields = published_test.mutated(rng, fields)
  text = FILE.format(text=json.dumps(fields)).encode()
  text = torture.mangled(rng, text) if rng.random() < 0.2 else text
  path.write_bytes(text)
  return path


def call(rng: random.Random, folder: pathlib.Path) -> list[str]:
  """The flags of a call that is most likely wrong."""
  name = rng.choice(NAMES)
  fields, file = config(name), CONFIGS / name.replace(':', '.py:', 1)
  file = file if ':' in name else f'{file}.py'
  if rng.random() < 0.4:
    file = wrong_file(rng, fields, folder / 'mine.py')
  flags = [f'--config={file}', '--workdir=run']
  flags += [wrong_flag(rng, fields) for _ in range(rng.choice([0, 1, 1, 2]))]
  if rng.random() < 0.1:
    rng.shuffle(flags)
  return flags


def outcome(flags: Sequence[str]) -> str:
  """'exit', with the code, or a fault."""
  out, error = (io.TextIOWrapper(io.BytesIO(), 'utf-8') for _ in range(2))
  error.reconfigure(errors='backslashreplace')  # as Python's own
  sys.argv = ['launch.py', *flags]
  signal.alarm(LONGEST)
  try:
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
      with flagsaver.flagsaver():
        code = launch.main(sys.argv)
  except BaseException as raised:
    kind = 'late' if isinstance(raised, Late) else 'traceback'
    return f'{kind}: {type(raised).__name__}: {errors.cut(str(raised), 300)}'
  finally:
    signal.alarm(0)
  error.flush()
  lines = error.buffer.getvalue().decode().splitlines()
  if len(lines) > 1:
    return f'lines: {lines}'
  if code not in (0, 1, 2) and not 128 < code < 160:
    return f'code {code}: {lines}'
  return f'exit {code}' if lines or not code else f'silent: {code}'


def dry(task: types.ModuleType) -> types.SimpleNamespace:
  """A task that never does more than a dry run."""
  return types.SimpleNamespace(
    run=lambda config, workdir, dry_run: task.run(config, workdir, True)
  )


def tortured(
  count: int, seed: int, folder: pathlib.Path
) -> Iterator[tuple[str, str]]:
  """(what was done, what came of it) so many times."""

  def late(number, frame):
    raise Late

  signal.signal(signal.SIGALRM, late)
  TASKS.update({name: dry(task) for name, task in TASKS.items()})
  parallel.start = lambda: None
  os.chdir(folder)
  os.environ['HOME'] = str(folder)
  rng = random.Random(seed)
  for n in range(count):
    flags = call(rng, folder)
    shown = errors.cut(repr(flags), 1000)
    if (folder / 'mine.py').exists() and 'mine.py' in str(flags):
      shown += errors.cut(
        (folder / 'mine.py').read_text(errors='replace'), 4000
      )
    yield f'{n}: {shown}', outcome(flags)


if __name__ == '__main__':
  good = [f'exit {code}' for code in range(3)]
  sys.exit(torture.main('wrong calls', tortured, count=1000, good=good))

"""A command of launch.py in a process of its own, which may be killed.

  python -m tests.torture.process WORKDIR EVENT DELAY LARGEST FLAGS...

At a file event of that number (the first is 1), so many seconds later. Events
are what Python does to the files of WORKDIR: it opens one for writing, renames
or removes one, makes or removes a folder. A delay finds what Orbax's threads
write in between. LARGEST is how many bytes a file may have, 0 for any number.
"""

import itertools
import os
import pathlib
import resource
import signal
import subprocess
import sys

# Imported first, for XLA's flags, which child processes inherit.
from tests import conftest

CHANGES = 'os.rename', 'os.remove', 'os.rmdir', 'os.mkdir'
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ROOT = pathlib.Path(__file__).parents[2]
SMALL = (
  *('--config.batch_size=16', '--config.steps_per_call=1'),
  *('--config.model.channels=2', '--config.model.layers=1'),
)
SEARCH = (
  '--config=configs/search_digits.py',
  *('--config.space=toy', '--config.data.examples=64', *SMALL),
  *('--config.alphas.warmup=0', '--config.distill.warmup=1'),
)
RUNS = {
  'sgas': (
    *(*SEARCH, '--config.method=sgas', '--config.epochs=4'),
    *('--config.options.warmup=1', '--config.options.interval=1'),
    *('--config.sharpness.landscape=3', '--config.sharpness.spectrum'),
  ),
  'darts_pt': (
    *(*SEARCH, '--config.method=darts_pt', '--config.epochs=2'),
    '--config.options.interval=1',
  ),
  'evaluate': (
    *('--config=configs/evaluate_digits.py', '--config.epochs=3', *SMALL),
    *('--config.data.examples=96', '--config.data.holdout=32'),
    '--config.genotype=DARTS_V2',
  ),
}


def launch(
  flags: tuple[str, ...],
  workdir: pathlib.Path,
  event: int = 0,
  delay: float = 0.0,
  largest: int = 0,
) -> subprocess.CompletedProcess:
  """Runs it; JAX's cache is beside the folder, for all runs there."""
  own = sys.executable, '-m', 'tests.torture.process'
  given = str(workdir), str(event), str(delay), str(largest)
  return subprocess.run(
    [*own, *given, f'--workdir={workdir}', *flags],
    cwd=ROOT,
    env=os.environ | {conftest.CACHE: str(workdir.parent / 'cache')},
    capture_output=True,
    text=True,
    timeout=600,
  )


def events(done: subprocess.CompletedProcess) -> int:
  """How many file events a whole run had."""
  return int(done.stdout.splitlines()[-1].split()[0])


def _watch(workdir, event, delay):
  """Counts the events, and kills this process at one; returns the counter."""
  numbers, last = itertools.count(1), [0]

  def hear(name, args):
    if name not in CHANGES and not (name == 'open' and args[2] & WRITES):
      return
    # Whole folders are removed by names relative to an open one.
    relative = name != 'open' and args[-1] != -1
    if not relative and not str(args[0]).startswith(workdir):
      return
    number = last[0] = next(numbers)
    if number == event and delay:
      signal.setitimer(signal.ITIMER_REAL, delay)  # which ends a process
    elif number == event:
      os.kill(os.getpid(), signal.SIGKILL)

  sys.addaudithook(hear)
  return last


def main(workdir, event, delay, largest, *flags):
  from sdnas_jax import launch
  from sdnas_jax.spaces import SPACES
  from tests import toys

  SPACES['toy'] = toys.SPACE
  sys.argv = ['launch.py', *flags]
  if size := int(largest):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
  last = _watch(workdir, int(event), float(delay))
  code = launch.main(sys.argv)
  print(f'{last[0]} file events')
  return code


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))

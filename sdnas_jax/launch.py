"""Runs an experiment: flags -> config -> one task.

  sdnas --config=configs/search_digits.py --workdir=runs/digits

or, without an installation, from a checkout,

  python launch.py --config=configs/search_digits.py --workdir=runs/digits

Any field of the config can be set from the command line, for example
--config.distill.teachers=3. The same command on the same folder resumes; on
every host of a cluster, it runs on all of their devices.
"""

import importlib
import os
import re
import signal
import subprocess
import sys

from sdnas_jax import errors


def run() -> None:
  """The program, from its first moment on."""
  signal.signal(signal.SIGINT, _leave)  # heard during the imports, too
  sys.exit(main(sys.argv))


def _leave(number, frame):
  """Ends a process that has nothing to save yet.

  At once, as the libraries that are being imported make of a KeyboardInterrupt
  what they like.
  """
  print('stopped before it began', file=sys.stderr, flush=True)
  os._exit(128 + number)


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
    return _end(f'error: {errors.told(error)}; {kept}', 1)
  except KeyboardInterrupt:
    return _end('stopped; run the same command to go on', 130)


def _asked(argv):
  errors.supported()
  from sdnas_jax import command  # which imports much

  if {'-h', '--help', '-help'} & set(argv):
    return _tell(__doc__, command.flags.FLAGS.module_help(command.__name__))
  if {'--list', '-list'} & set(argv):
    return _list()
  return _run(*command.read(argv))


def _list():
  _prepare()
  from sdnas_jax import experiments
  from sdnas_jax.tasks import catalogue

  return _tell(*catalogue.lines(experiments.folder()))


def _run(config, workdir, dry_run):
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
    TASKS[config.task].run(config, workdir, dry_run)
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
  from sdnas_jax import command

  os.environ.pop('MPLBACKEND', None)  # figures are files
  try:
    if 'XLA_FLAGS' in os.environ and 'jax' not in sys.modules:
      _try_xla()
    if where := os.environ.get('TFDS_DATA_DIR'):
      os.environ['TFDS_DATA_DIR'] = command.home(where)
    importlib.import_module('sdnas_jax.tasks')
  except Exception as error:
    raise errors.BadInput(
      f'cannot start ({errors.told(error)}): mend the environment variables, '
      'or install the requirements again'
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
  run()

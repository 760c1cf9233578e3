"""What surrounds `launch.py`: variables, home, terminal, devices, signals.

It works without what it can do without, and else says so in a sentence.
"""

import io
import os
import pathlib
import re
import runpy
import signal
import subprocess
import sys
import types

import jax
import pytest

from sdnas_jax import compilation
from sdnas_jax import errors
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax.kernels import build
from sdnas_jax.runs import locks
from sdnas_jax.runs import loop
from sdnas_jax.tasks import catalogue
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import search
from tests import launch_test

ROOT = pathlib.Path(__file__).parent.parent
DIGITS = '--config=configs/search_digits.py'
# Calls main() in one process with a variable after the other, the last ones
# those that JAX reads first when it looks for devices.
VARIABLES = """
import os, sys
from absl import flags
from sdnas_jax import launch
for variable in sys.argv[1:]:
  name, value = variable.split('=', 1)
  kept = os.environ.pop(name, None)
  os.environ[name] = value
  sys.argv = ['launch.py', '--config=configs/search_digits.py', '--dry_run']
  flags.FLAGS.unparse_flags()
  print(launch.main([*sys.argv, f'--workdir={os.environ["WORKDIR"]}']))
  del os.environ[name]
  if kept is not None:
    os.environ[name] = kept
"""
# Runs launch.py, and has a Ctrl-C when a module is about to be imported.
INTERRUPTED = """
import os, runpy, signal, sys
last = sys.argv.pop(1)
class Finder:
  def find_spec(self, name, *more):
    if name == last:
      os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.path.insert(0, os.getcwd())
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = 'launch.py'
runpy.run_path('launch.py', run_name='__main__')
"""


def python(code, *argv, **variables):
  """A Python process in the root of the repository."""
  return subprocess.Popen(
    [sys.executable, '-c', code, *argv],
    cwd=ROOT,
    env={**os.environ, **variables},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_variables_that_no_library_takes(tmp_path):
  wrong = {
    'XLA_FLAGS=--nonsense': 'XLA_FLAGS: Unknown flag in XLA_FLAGS: --nonsense',
    'XLA_FLAGS=--xla_cpu_ftz=abc': "Couldn't interpret value abc",
    'JAX_ENABLE_X64=banana': "'banana' for environment 'JAX_ENABLE_X64'",
    'JAX_PLATFORMS=cuda': 'JAX finds no device (AssertionError): unset JAX_P',
  }
  process = python(VARIABLES, *wrong, WORKDIR=str(tmp_path / 'new'))
  out, error = process.communicate()
  assert out.split() == ['2'] * len(wrong), error
  lines = error.splitlines()
  for line, says in zip(lines, wrong.values(), strict=True):
    assert line.startswith('error: ') and says in line
  assert not (tmp_path / 'new').exists()


def test_a_platform_that_is_none(monkeypatch):
  def refuse():
    raise RuntimeError("Unable to initialize backend 'nonsense'")

  monkeypatch.setattr(jax.distributed, 'initialize', lambda *given: None)
  monkeypatch.setattr(jax, 'devices', refuse)
  with pytest.raises(errors.BadInput, match=r"'nonsense'.*unset JAX_PLATFORMS"):
    parallel.start()


def test_a_package_that_is_missing(here, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'sdnas_jax.tasks', None)
  code, _, error = here(DIGITS, f'--workdir={tmp_path / "new"}')
  assert code == 2 and 'install the requirements again' in error
  assert len(error.splitlines()) == 1


def test_a_backend_of_matplotlib_for_screens(here, tmp_path, monkeypatch):
  monkeypatch.setenv('MPLBACKEND', 'nonsense')
  assert here(DIGITS, '--dry_run', f'--workdir={tmp_path}')[0] == 0
  assert 'MPLBACKEND' not in os.environ


@pytest.mark.parametrize('home', [None, 'file/below'])
def test_no_home_is_no_cache(home, tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.delenv('HOME')
  monkeypatch.setattr(os, 'getuid', lambda: 2**31 - 2)  # of nobody
  if home:
    monkeypatch.setenv('HOME', str(tmp_path / home))
  kept = jax.config.jax_compilation_cache_dir
  try:
    jax.config.update('jax_compilation_cache_dir', None)
    compilation.keep()
    assert jax.config.jax_compilation_cache_dir is None
  finally:
    jax.config.update('jax_compilation_cache_dir', kept)
  with pytest.raises(OSError):
    compilation.folder()
  monkeypatch.setattr(build, '_load', lambda folder, *more: folder)
  assert str(build.library.__wrapped__('sums', 'float32')) != str(tmp_path)
  assert os.listdir(tmp_path) == ['file']


def test_a_cache_in_the_home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  kept = jax.config.jax_compilation_cache_dir
  try:
    jax.config.update('jax_compilation_cache_dir', '~/cache')
    compilation.keep()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / 'cache')
  finally:
    jax.config.update('jax_compilation_cache_dir', kept)


@pytest.mark.parametrize(
  'found, platforms, plugins, tuned, waits',
  [
    ('cpu', None, ['cuda'], True, True),  # there is no GPU after all
    ('gpu', None, [], False, False),
    ('tpu', None, [], False, False),
    # Before JAX has looked for devices.
    (None, None, [], True, True),
    (None, None, ['cuda'], False, True),  # it may yet be a CPU
    (None, 'cpu', ['cuda'], True, True),
    (None, 'cuda,cpu', ['cuda'], False, False),
  ],
)
def test_memory_is_kept_where_cpus_compute(
  monkeypatch, found, platforms, plugins, tuned, waits
):
  set_to, tunings = {}, []
  known = {'jax_platforms': platforms, 'update': set_to.__setitem__}
  library = {'mallopt': lambda *given: tunings.append(given)}
  fake = types.SimpleNamespace
  monkeypatch.setattr(malloc.jax, 'config', fake(**known))
  monkeypatch.setattr(malloc.ctypes, 'CDLL', lambda name: fake(**library))
  monkeypatch.setattr(malloc.metadata, 'entry_points', lambda group: plugins)
  malloc.keep(found)
  assert len(tunings) == 3 * tuned
  assert set_to == ({'jax_cpu_enable_async_dispatch': False} if waits else {})


@pytest.mark.parametrize('task', [evaluate, search])
def test_no_task_tunes_the_host_of_a_gpu(monkeypatch, task):
  def stop(config):
    raise RuntimeError('it went on')

  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  monkeypatch.setattr(malloc.ctypes, 'CDLL', None)  # not to be called
  monkeypatch.setattr(task.check, task.__name__.split('.')[-1], stop)
  with pytest.raises(RuntimeError, match='it went on'):
    task.run(None, None, dry_run=False)


def test_a_system_without_resource_or_fcntl(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'resource', None)
  monkeypatch.setitem(sys.modules, 'fcntl', None)
  assert f'{runpy.run_path(malloc.__file__)["peak"]():.2f}' == 'nan'
  other = runpy.run_path(locks.__file__)
  assert [*other['each']([tmp_path / 'run'])] == [tmp_path / 'run']


def test_freed_memory_goes_back_when_it_is_told_to(monkeypatch):
  trimmed = []
  library = types.SimpleNamespace(malloc_trim=trimmed.append)
  monkeypatch.setattr(malloc.ctypes, 'CDLL', lambda name: library)
  malloc.give_back()
  assert trimmed == [0]
  monkeypatch.setattr(malloc.ctypes, 'CDLL', lambda name: object())
  malloc.give_back()  # a library that knows no such thing


def test_windows_is_told_of_wsl(here, monkeypatch):
  monkeypatch.setattr(errors.os, 'name', 'nt')
  code, _, error = here(DIGITS)
  assert code == 2 and 'start it in WSL' in error


def test_the_digits_need_neither_tensorflow_nor_tensorboard(
  here, tmp_path, monkeypatch
):
  for name in ('tensorflow', 'tensorflow_datasets', 'tensorboard'):
    for module in [m for m in sys.modules if m.split('.')[0] == name]:
      monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # its import fails
  code, out, error = here(*launch_test.TINY, f'--workdir={tmp_path}')
  assert code == 0, error
  assert not (tmp_path / 'tensorboard').exists()
  assert (tmp_path / 'report.html').exists() and 'epoch 3/3' in out


def test_a_terminal_that_knows_ascii_only(here, monkeypatch):
  monkeypatch.setattr(catalogue, 'lines', lambda configs: ['2.5 ± 0.1'])
  screen = io.TextIOWrapper(io.BytesIO(), 'ascii')
  monkeypatch.setattr(sys, 'stdout', screen)
  assert here('--list')[0] == 0
  assert screen.buffer.getvalue() == b'2.5 ? 0.1\n'


def test_a_home_in_a_variable(here, monkeypatch):
  monkeypatch.setenv('HOME', '/home')
  monkeypatch.setenv('TFDS_DATA_DIR', '~/data')
  assert here('--list')[0] == 0
  assert os.environ['TFDS_DATA_DIR'] == '/home/data'


def test_a_folder_without_configs(tmp_path):
  lines = [*catalogue.lines(tmp_path / 'none')]
  assert any('DARTS_V2' in line for line in lines)


@pytest.mark.parametrize(
  'error, says',
  [
    (
      jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory.\n a\n b'),
      r'RESOURCE_EXHAUSTED: Out of memory.\): lower batch_size',
    ),
    (jax.errors.JaxRuntimeError('INTERNAL: oh\nno'), r'failed \(INTERNAL: oh'),
    (
      MemoryError('Unable to allocate 9 TiB'),
      'MemoryError: Unable to allocate',
    ),
    (OSError(28, 'No space left on device'), 'No space left'),
  ],
)
def test_a_machine_that_fails(here, tmp_path, monkeypatch, error, says):
  def fail(*given):
    raise error

  monkeypatch.setattr(search, 'run', fail)
  code, _, told = here(DIGITS, f'--workdir={tmp_path}')
  assert code == 1 and len(told.splitlines()) == 1
  assert re.search(says, told), told


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'])
def test_a_signal_that_asks_to_stop(here, tmp_path, monkeypatch, name):
  number = getattr(signal, name)

  usual = signal.default_int_handler if name == 'SIGINT' else signal.SIG_DFL
  outside = signal.signal(number, usual)  # which nohup may have changed

  def stop(*given):
    before = signal.getsignal(number)
    with loop.catching() as caught:
      signal.raise_signal(number)
      assert caught == [number] and signal.getsignal(number) == before
    raise loop.Interrupted(caught[0], 3)

  monkeypatch.setattr(search, 'run', stop)
  try:
    code, _, error = here(DIGITS, f'--workdir={tmp_path}')
  finally:
    signal.signal(number, outside)
  assert code == 128 + number
  assert error == (
    'stopped at step 3, which is saved; run the same command to go on\n'
  )


def test_what_nohup_ignores_stays_ignored(monkeypatch):
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with loop.catching() as caught:
      signal.raise_signal(signal.SIGHUP)
      assert not caught
  finally:
    signal.signal(signal.SIGHUP, before)


def test_a_platform_without_some_signals(monkeypatch):
  for name in ('SIGHUP', 'SIGUSR1'):
    monkeypatch.delattr(signal, name)
  with loop.catching() as caught:
    signal.raise_signal(signal.SIGTERM)
    assert caught == [signal.SIGTERM]


def test_a_ctrl_c_during_the_imports():
  modules = 'ml_collections', 'jaxlib', 'orbax'
  processes = [python(INTERRUPTED, name, DIGITS) for name in modules]
  said = [process.communicate() for process in processes]
  assert said == [('', 'stopped before it began\n')] * len(modules)
  assert {process.returncode for process in processes} == {130}

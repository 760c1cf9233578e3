"""Settings of every test, made before jax is imported."""

from concurrent import futures
import contextlib
import gc
import itertools
import os
import pathlib
import shutil
import sys
import tempfile

# Compilation is the cost of the suite: compile fast code only where it counts.
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
    '--xla_cpu_use_fusion_emitters=false',  # the newer ones take twice as long
    '--xla_cpu_parallel_codegen_split_count=1',
    '--xla_disable_hlo_passes=hlo-verifier',  # XLA's check of itself
  ]
)
# Many programs compile in less than JAX's second, in each process again.
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'

# Else the folder's name would be part of what a program is known by.
os.environ['JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES'] = 'none'

from absl.testing import flagsaver
import hypothesis
from hypothesis.internal.conjecture import providers
import jax
import pytest

from sdnas_jax import command  # noqa: F401 - defines the flags
from sdnas_jax import compilation
from sdnas_jax import launch
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax.kernels import build
from sdnas_jax.kernels import choice
from tests import compiled

CACHE = 'JAX_COMPILATION_CACHE_DIR'
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Tracing makes objects by the million, among which garbage is sought for long.
gc.set_threshold(200_000, 20, 20)
# The same examples each time, whatever else is imported, on however slow a CPU.
hypothesis.settings.register_profile(
  'same',
  derandomize=True,
  database=None,
  deadline=None,
  max_examples=40,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile('same')
# Else it tries the constants of what code of ours happens to be imported.
providers._get_local_constants = lambda: providers._local_constants
# What was found fastest on the machine at hand is of no concern.
choice.FILE = 'none'
compiled.faster()
# What takes long: begun first, so that no worker is left alone with it.
LONG = {
  *('contract_test.py', 'darts_supernet_test.py', 'launch_test.py'),
  *('sharpness_test.py', 'hosts_test.py', 'search_test.py'),
  *('notebooks_test.py', 'build_test.py', 'bfloat16_test.py', 'tasks'),
}


def pytest_configure(config):
  """What the workers of xdist share: a cache, and the compiled kernels."""
  if hasattr(config, 'workerinput'):
    return
  os.environ[CACHE] = tempfile.mkdtemp(prefix='sdnas_jax_tests_')
  os.environ['HYPOTHESIS_STORAGE_DIRECTORY'] = os.environ[CACHE]
  jax.config.update('jax_compilation_cache_dir', os.environ[CACHE])
  compiled.fetch(pathlib.Path(os.environ[CACHE]))
  if build.available():
    every = itertools.product(build.USUAL, build.TYPES)
    with futures.ThreadPoolExecutor() as pool:
      list(pool.map(lambda one: build.library(*one), every))


def pytest_unconfigure(config):
  if not hasattr(config, 'workerinput'):
    with contextlib.suppress(OSError):  # no home, or no room in it
      compiled.keep(pathlib.Path(os.environ[CACHE]))
    shutil.rmtree(os.environ[CACHE], ignore_errors=True)


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: LONG.isdisjoint(item.path.parts))


@pytest.fixture(autouse=True, scope='module')
def few_programs():
  """Frees a file's memory, and its programs before they are too many to map."""
  yield
  malloc.give_back()  # which tasks that ran here told to stay
  if compilation.crowded():
    compilation.forget()


@pytest.fixture
def here(monkeypatch, capsys):
  """Calls `main` in this process; returns its code, stdout and stderr."""

  def call(*flags, cwd=pathlib.Path(__file__).parent.parent):
    argv = ['launch.py', *flags]
    monkeypatch.setattr(sys, 'argv', argv)  # where config_flags looks
    monkeypatch.setattr(parallel, 'start', lambda: None)  # JAX runs already
    monkeypatch.chdir(cwd)
    with flagsaver.flagsaver():
      code = launch.main(argv)
    return code, *capsys.readouterr()

  return call

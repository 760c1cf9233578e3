"""Settings of every test, made before jax is imported."""

from concurrent import futures
import itertools
import os
import shutil
import tempfile

# Compilation is the cost of the suite: compile fast code only where it counts.
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
  ]
)
# Many programs compile in less than JAX's second, in each process again.
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'

import jax

from sdnas_jax.kernels import build

CACHE = 'JAX_COMPILATION_CACHE_DIR'
jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_configure(config):
  """What the workers of xdist share: a cache, and the compiled kernels."""
  if hasattr(config, 'workerinput'):
    return
  os.environ[CACHE] = tempfile.mkdtemp(prefix='sdnas_jax_tests_')
  jax.config.update('jax_compilation_cache_dir', os.environ[CACHE])
  if build.available():
    every = itertools.product(build.USUAL, build.TYPES)
    with futures.ThreadPoolExecutor() as pool:
      list(pool.map(lambda one: build.library(*one), every))


def pytest_unconfigure(config):
  if not hasattr(config, 'workerinput'):
    shutil.rmtree(os.environ[CACHE], ignore_errors=True)

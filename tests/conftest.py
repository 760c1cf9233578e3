"""Settings of every test, made before jax is imported."""

from concurrent import futures
import itertools
import os

# Compilation is the cost of the suite: compile fast code only where it counts.
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
  ]
)

import jax

from sdnas_jax.native import build

jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_configure(config):
  """Compiles the kernels once, before the workers of xdist would, each."""
  if not hasattr(config, 'workerinput') and build.available():
    every = itertools.product((*build.USUAL, 'depthwise'), build.TYPES)
    with futures.ThreadPoolExecutor() as pool:
      list(pool.map(lambda one: build.library(*one), every))

"""Keeps freed memory for the next step, and tells the peak.

A step on a CPU takes and frees gigabytes of temporaries at once. glibc hands
such blocks back to the system, and the next step pays for every page again
(docs/speed.md).
"""

import contextlib
import ctypes
from importlib import metadata
from importlib import util
import math
import platform

import jax

try:
  import resource
except ImportError:  # not all systems have it
  resource = None

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep(backend: str | None = None) -> None:
  """Tells glibc to keep freed memory, where JAX computes on a CPU.

  Call it before JAX looks for devices, for threads that are there keep heaps of
  their own; and again after, with the `backend` found. Elsewhere it does
  nothing: steps take no memory of the host there, and the threads that read
  images want heaps of their own.
  """
  backend = backend or _sure()
  if backend in ('cpu', ''):
    # An asynchronous step may start before the one before it has freed its
    # temporaries; kept, they would then exist twice. JAX asks when it looks for
    # devices, and for CPUs alone.
    jax.config.update('jax_cpu_enable_async_dispatch', False)
  if backend != 'cpu':
    return
  try:
    tune = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return  # another library than glibc
  tune(MMAP_MAX, 0)  # large blocks come from the heap ...
  tune(ARENA_MAX, 1)  # ... of which there is one for all threads ...
  tune(TRIM_THRESHOLD, -1)  # ... that never shrinks


def give_back() -> None:
  """Returns what is free to the system: after compiling, more than it takes."""
  with contextlib.suppress(AttributeError, OSError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)  # another library has none


def _sure():
  """The backend that JAX will have, '' if that depends on what it finds."""
  if named := jax.config.jax_platforms:
    return named.split(',')[0]
  plugins = metadata.entry_points(group='jax_plugins')
  return '' if plugins or util.find_spec('libtpu') else 'cpu'


def peak() -> float:
  """The most memory that this process has held, in GB; nan if none knows."""
  if resource is None:
    return math.nan
  unit = 2**30 if platform.system() == 'Darwin' else 2**20
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

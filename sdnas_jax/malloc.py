"""Keeps freed memory for the next step, and tells the peak.

A step on a CPU takes and frees gigabytes of temporaries at once. glibc hands
such blocks back to the system, and the next step pays for every page again
(docs/speed.md).
"""

import ctypes
import math
import platform

import jax

try:
  import resource
except ImportError:  # not all systems have it
  resource = None

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep() -> None:
  """Tells glibc to keep freed memory; where there is none, does nothing.

  Call it before JAX looks for devices.
  """
  try:
    tune = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return
  tune(MMAP_MAX, 0)  # large blocks come from the heap ...
  tune(ARENA_MAX, 1)  # ... of which there is one for all threads ...
  tune(TRIM_THRESHOLD, -1)  # ... that never shrinks
  # An asynchronous step may start before the one before it has freed its
  # temporaries; kept, they would then exist twice.
  jax.config.update('jax_cpu_enable_async_dispatch', False)


def peak() -> float:
  """The most memory that this process has held, in GB; nan if none knows."""
  if resource is None:
    return math.nan
  unit = 2**30 if platform.system() == 'Darwin' else 2**20
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

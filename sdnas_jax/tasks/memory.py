"""What a run takes of each device's memory, for its plan."""

from collections.abc import Sequence
import math
import os
from typing import Any

import jax

from sdnas_jax import compilation
from sdnas_jax import parallel

Tree = Any


def size(tree: Tree) -> int:
  """Bytes of all arrays, or such shapes, that one device holds."""
  return sum(map(_bytes, jax.tree.leaves(tree)))


def _bytes(x):
  place = getattr(x, 'sharding', None)
  shape = place.shard_shape(x.shape) if place else x.shape
  return math.prod(shape) * x.dtype.itemsize


def planned(
  programs: Sequence[compilation.Program], resident: Tree
) -> dict[str, int]:
  """Compiles programs, and says whether the one that takes most fits.

  Args:
    programs: that run one after the other.
    resident: all that stays on the devices meanwhile.

  Returns:
    `temporary_bytes`: what XLA plans for activations, gradients and all that
      lasts no longer than a program; `device_bytes`: with what is resident and
      new results.
  """
  compiled = compilation.build(*programs, place=parallel.everywhere())
  plans = [program.memory_analysis() for program in compiled]
  own = [
    plan.temp_size_in_bytes
    + plan.output_size_in_bytes
    - plan.alias_size_in_bytes
    for plan in plans
  ]
  needed = size(resident) + max(own)
  print(verdict(needed))
  temporary = max(plan.temp_size_in_bytes for plan in plans)
  return {'temporary_bytes': temporary, 'device_bytes': needed}


def limit() -> int:
  """Bytes that JAX may take of a device, a CPU's of the machine; 0: unknown."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if 'bytes_limit' in stats or jax.default_backend() != 'cpu':
    return stats.get('bytes_limit', 0)
  try:
    there = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  except (AttributeError, OSError, ValueError):  # of another system
    return 0
  return there // jax.local_device_count()


def verdict(needed: int) -> str:
  """Whether so many bytes fit, in a sentence."""
  there, gigabytes = limit(), f'{needed / 2**30:.2f} GB'
  if not there:
    return f'each device needs {gigabytes}'
  told = f'each device needs {gigabytes} of {there / 2**30:.2f}'
  if needed <= there:
    return f'{told}: it fits'
  return (
    f'{told}: it does not fit, so lower batch_size, model.channels or '
    'model.layers'
  )

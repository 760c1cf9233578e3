"""Data parallelism: the one place that names the mesh.

Arrays are global. Parameters, data set and memory are the same on every
device, batches are split over the axis `data`, and jit inserts what
communication that needs; nothing else in the package knows of devices.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

Tree = Any


@functools.cache
def mesh() -> Mesh:
  """All devices of all hosts, in one row."""
  return jax.make_mesh(
    (jax.device_count(),), ('data',), axis_types=(AxisType.Auto,)
  )


def everywhere() -> NamedSharding:
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh(), PartitionSpec())


def replicate(tree: Tree) -> Tree:
  """Puts host arrays, the same on every host, on every device."""

  def put(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, everywhere(), lambda i: x[i])

  return jax.tree.map(put, tree)


def split(x: jax.Array) -> jax.Array:
  """Inside jit: spreads the first axis, of batch rows, over the devices."""
  sharding = NamedSharding(mesh(), PartitionSpec('data'))
  return jax.lax.with_sharding_constraint(x, sharding)


def rows(
  f: Callable[..., Tree], axis: int, whole: int = 0, total: bool = False
) -> Callable[..., Tree]:
  """Inside jit: makes each device call `f` with its own rows of a batch.

  For foreign functions, which jit cannot divide among the devices by itself.
  No derivative passes through it: its user defines one.

  Args:
    f: its operands have rows on `axis`, but for the last `whole` ones.
    axis: the same in its result.
    whole: number of operands that every device needs whole.
    total: whether the result is instead a sum over rows.
  """
  if mesh().size == 1:
    return f
  local, same = PartitionSpec(*[None] * axis, 'data'), PartitionSpec()

  def call(*operands):
    some = len(operands) - whole
    divides = operands[0].shape[axis] % mesh().size == 0
    own = local if divides else same  # else each device computes all rows
    add = total and divides
    return jax.shard_map(
      (lambda *own: jax.lax.psum(f(*own), 'data')) if add else f,
      mesh=mesh(),
      in_specs=(own,) * some + (same,) * whole,
      out_specs=same if total else own,
      check_vma=False,
    )(*operands)

  return call

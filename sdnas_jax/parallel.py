"""Data parallelism: the one place that names the mesh.

Arrays are global. Parameters, data set and memory are the same on every
device, batches are split over the axis `data`, and jit inserts what
communication that needs; nothing else in the package knows of devices.
"""

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

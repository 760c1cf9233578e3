"""Data parallelism: the one place that names the mesh.

Arrays are global. Parameters, data set and memory are the same on every
device, batches are split over the axis `data`, and jit inserts what
communication that needs; nothing else in the package knows of devices.

Of several hosts, each runs the same program. What one of them may not decide
alone passes through `most`; what is written once, the one `leads` does.
"""

from collections.abc import Callable
import functools
import os
import sys
from typing import Any
import warnings

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from sdnas_jax import errors

Tree = Any
# Where JAX detects no cluster by itself, these name one.
CLUSTER = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')


def start() -> None:
  """Joins the other processes of the cluster, if JAX or `CLUSTER` knows one.

  To be called before anything else asks JAX for its devices. Only the leading
  process keeps its standard output.

  Raises:
    BadInput: if the variables of `CLUSTER` are incomplete or wrong, or JAX
      has no device.
  """
  # Its handler of SIGTERM would keep a process alive until it trains.
  jax.config.update('jax_enable_preemption_service', False)
  named = {name: os.environ[name] for name in CLUSTER if name in os.environ}
  try:
    # The first of them JAX reads by itself.
    count, number = (int(named[n]) if n in named else None for n in CLUSTER[1:])
    with warnings.catch_warnings():
      # In a container of Kubernetes, JAX asks for a package to look further.
      warnings.filterwarnings('ignore', 'Kubernetes environment')
      jax.distributed.initialize(None, count, number)
  except ValueError as error:
    if named or 'coordinator_address' not in str(error):
      raise errors.BadInput(
        f'this host cannot join the others ({error}): set all of '
        f'{", ".join(CLUSTER)}, or none'
      ) from error
  try:
    jax.devices()
  except Exception as error:  # a RuntimeError, or an assertion of JAX's own
    raise errors.BadInput(
      f'JAX finds no device ({str(error) or type(error).__name__}): unset '
      'JAX_PLATFORMS, or name one that is there, such as cpu'
    ) from error
  if jax.distributed.is_initialized() and not leads():
    sys.stdout = open(os.devnull, 'w', encoding='utf-8')


def leads() -> bool:
  """Whether this process is the one that speaks and writes."""
  return jax.process_index() == 0


def most(*numbers: int) -> list[int]:
  """The largest of each number, an int32, on any host; all must call it."""
  if jax.process_count() == 1:
    return list(numbers)
  every = multihost_utils.process_allgather(np.array(numbers, np.int32))
  return np.max(every, axis=0).tolist()


@functools.cache
def mesh() -> Mesh:
  """All devices of all hosts, in one row."""
  return jax.make_mesh(
    (jax.device_count(),), ('data',), axis_types=(AxisType.Auto,)
  )


def everywhere() -> NamedSharding:
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh(), PartitionSpec())


def divided() -> NamedSharding:
  """The sharding of what has rows of a batch on its first axis."""
  return NamedSharding(mesh(), PartitionSpec('data'))


def replicate(tree: Tree) -> Tree:
  """Puts host arrays, the same on every host, on every device."""

  def put(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, everywhere(), lambda i: x[i])

  return jax.tree.map(put, tree)


def key(seed: int) -> jax.Array:
  """The random key of a seed, on every device."""
  return jax.jit(jax.random.key, out_shardings=everywhere())(np.uint32(seed))


def spread(tree: Tree) -> Tree:
  """Joins every host's own rows of a batch to global arrays."""
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(divided(), x), tree
  )


def split(x: jax.Array) -> jax.Array:
  """Inside jit: spreads the first axis, of batch rows, over the devices."""
  return jax.lax.with_sharding_constraint(x, divided())


def rows(
  f: Callable[..., list[jax.Array]],
  whole: int = 0,
  own: bool = True,
  totals: int = 0,
) -> Callable[..., list[jax.Array]]:
  """Inside jit: makes each device call `f` with its own rows of a batch.

  For foreign functions, which jit cannot divide among the devices by itself.
  No derivative passes through it: its user defines one.

  Args:
    f: its operands, but for the last `whole` ones, have rows on their second
      axis. It returns a list.
    whole: number of operands that every device needs whole.
    own: whether the first result has rows on its second axis, too.
    totals: number of results, the others, that are sums over rows.
  """
  if mesh().size == 1:
    return f
  local, same = PartitionSpec(None, 'data'), PartitionSpec()

  def call(*operands):
    some = len(operands) - whole
    divides = operands[0].shape[1] % mesh().size == 0
    part = local if divides else same  # else each device computes all rows

    def added(*operands):
      out = f(*operands)
      if not divides:
        return out
      return [*out[:own], *(jax.lax.psum(x, 'data') for x in out[own:])]

    return jax.shard_map(
      added,
      mesh=mesh(),
      in_specs=(part,) * some + (same,) * whole,
      out_specs=[part] * own + [same] * totals,
      check_vma=False,
    )(*operands)

  return call

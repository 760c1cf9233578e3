"""Checkpoints of a whole state, by Orbax: atomic, the latest two kept."""

import logging
import os
import pathlib
import re
from typing import Any

import jax
import orbax.checkpoint as ocp

from sdnas_jax import parallel

Tree = Any


def manager(folder: pathlib.Path) -> ocp.CheckpointManager:
  """The checkpoints in a folder.

  Saving is synchronous: on CPU an array's memory is shared with the host, and
  the next step's donation would overwrite what is still being written.
  """
  # Orbax's threads log, with a traceback, what it then raises.
  logging.getLogger('absl').addFilter(
    lambda record: '_SignalingThread' not in str(record.msg)
  )
  options = ocp.CheckpointManagerOptions(
    max_to_keep=2, enable_async_checkpointing=False
  )
  return ocp.CheckpointManager(folder.absolute(), options=options)


def save(kept: ocp.CheckpointManager, state: Any) -> None:
  """Saves a state with counters `step` and `epoch`.

  The checkpoint's number is their sum, which both a finished epoch and a
  single step raise.

  Raises:
    OSError: it cannot be written, as on a full disk; older ones are whole.
  """
  number = int(state.step) + int(state.epoch)
  # Of the host's arrays, since Orbax takes twice as long over JAX's.
  state = jax.device_get(state)
  try:
    kept.save(number, args=ocp.args.StandardSave(state))
  except ValueError as error:  # so TensorStore says that it cannot write
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code is None:
      raise
    number = int(code[1])
    raise OSError(number, os.strerror(number), str(kept.directory)) from None


def latest(kept: ocp.CheckpointManager, like: Tree) -> Tree | None:
  """The latest state, in the shapes of `like`, or None."""
  number = kept.latest_step()
  if number is None:
    return None
  everywhere = parallel.everywhere()
  target = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), like
  )
  return kept.restore(number, args=ocp.args.StandardRestore(target))

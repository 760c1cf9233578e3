"""Checkpoints of a whole state, by Orbax: atomic, the latest two kept."""

import pathlib
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
  options = ocp.CheckpointManagerOptions(
    max_to_keep=2, enable_async_checkpointing=False
  )
  return ocp.CheckpointManager(folder.absolute(), options=options)


def save(kept: ocp.CheckpointManager, state: Any) -> None:
  """Saves a state with counters `step` and `epoch`.

  The checkpoint's number is their sum, which both a finished epoch and a
  single step raise.
  """
  number = int(state.step) + int(state.epoch)
  kept.save(number, args=ocp.args.StandardSave(state))


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

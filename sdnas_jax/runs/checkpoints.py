"""Checkpoints of a whole state, by Orbax: atomic, the latest two kept.

A checkpoint holds one vector for each type of number, and the layout: which
leaf of the state comes next, and its shape. Orbax takes about a millisecond
for each array, and a supernet's state has hundreds.
"""

import logging
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sdnas_jax import errors
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
  items = ocp.args.Composite(
    vectors=ocp.args.StandardSave(_pack(jax.device_get(state))),
    layout=ocp.args.JsonSave(_layout(state)),
  )
  try:
    kept.save(number, args=items)
  except ValueError as error:  # so TensorStore says that it cannot write
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code is None:
      raise
    number = int(code[1])
    raise OSError(number, os.strerror(number), str(kept.directory)) from None


def latest(kept: ocp.CheckpointManager, like: Tree) -> Tree | None:
  """The latest state, in the shapes of `like`, or None.

  Raises:
    BadInput: the checkpoint has another layout.
  """
  number = kept.latest_step()
  if number is None:
    return None
  if _written(kept, number) != _layout(like):
    raise errors.BadInput(
      f'{kept.directory} was written by another version of this program: '
      'choose another --workdir'
    )
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
  vectors = ocp.args.StandardRestore(_pack(zeros))
  found = kept.restore(number, args=ocp.args.Composite(vectors=vectors))
  return parallel.replicate(_unpack(found.vectors, like))


def _written(kept, number):
  """A checkpoint's layout; None if it has none."""
  item = ocp.args.Composite(layout=ocp.args.JsonRestore())
  try:
    return kept.restore(number, args=item).layout
  except (KeyError, ValueError):
    return None


def _layout(tree: Tree) -> list[list[Any]]:
  """Each leaf's name, type and shape."""
  return [
    [jax.tree_util.keystr(path), x.dtype.name, list(x.shape)]
    for path, x in jax.tree.leaves_with_path(tree)
  ]


def _pack(tree: Tree) -> dict[str, np.ndarray]:
  """All leaves of a type as one vector, by the type's name."""
  parts: dict[str, list[np.ndarray]] = {}
  for leaf in jax.tree.leaves(tree):
    parts.setdefault(leaf.dtype.name, []).append(np.ravel(leaf))
  return {name: np.concatenate(part) for name, part in parts.items()}


def _unpack(vectors: dict[str, np.ndarray], like: Tree) -> Tree:
  """The inverse of `_pack`."""
  begin = dict.fromkeys(vectors, 0)

  def take(leaf):
    name = leaf.dtype.name
    start = begin[name]
    begin[name] += leaf.size
    return vectors[name][start : start + leaf.size].reshape(leaf.shape)

  return jax.tree.map(take, like)

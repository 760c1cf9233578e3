"""Checkpoints of a whole state, by Orbax: atomic, the latest two kept.

A checkpoint holds one vector for each type of number, and the layout: which
leaf of the state comes next, and its shape. Orbax takes about a millisecond
for each array, and a supernet's state has hundreds. With the layout it says
where in the search it was taken, which is read before the rest.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import logging
import os
import pathlib
import re
import shutil
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.runs import artifacts

Tree = Any
COMMITTED = '_CHECKPOINT_METADATA'  # Orbax's own file
SEAL = 'checksums.json'  # of a checkpoint's other files


class Place(NamedTuple):
  """Where in a search a checkpoint was taken."""

  stage: int
  epoch: int  # completed, of the stage
  whole: bool  # at an epoch's end
  revisions: int  # made so far


class Checkpoints:
  """The checkpoints in a folder.

  Saving is synchronous: on CPU an array's memory is shared with the host, and
  the next step's donation would overwrite what is still being written.
  """

  def __init__(self, folder: pathlib.Path, reach: int = 0):
    """Keeps, besides the latest two, the ends of `reach` epochs.

    Raises:
      BadInput: there are some, but all are damaged.
    """
    bad = parallel.leads() and not _clean(folder)
    if parallel.most(int(bad))[0]:
      raise errors.BadInput(
        f'all checkpoints in {folder} are damaged: restore one, or choose '
        'another --workdir'
      )
    # Orbax's threads log, with a traceback, what it then raises.
    logging.getLogger('absl').addFilter(
      lambda record: '_SignalingThread' not in str(record.msg)
    )
    self.reach, self.places = reach, {}
    self.manager = ocp.CheckpointManager(
      folder.absolute(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=self, enable_async_checkpointing=False
      ),
    )
    for number in self.manager.all_steps():
      if place := self._said(number).get('place'):
        self.places[number] = Place(*place)
    # A kill may have come between a new one and the end of an old one.
    numbers = self.manager.all_steps()
    for number, kept in zip(numbers, self._kept(numbers), strict=True):
      if not kept:
        self.manager.delete(number)

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Orbax's question, which of its checkpoints to keep."""
    del context
    return self._kept([checkpoint.step for checkpoint in checkpoints])

  def _kept(self, numbers):
    """The same of ascending numbers."""
    return [n in numbers[-2:] or self._near(n, numbers[-1]) for n in numbers]

  def _near(self, number: int, latest: int) -> bool:
    place, now = self.places.get(number), self.places.get(latest)
    if place is None or now is None or not self.reach:
      return False
    within = place.epoch >= now.epoch - self.reach
    return place.whole and place.stage == now.stage and within

  def save(
    self,
    state: Any,
    *,
    whole: bool,
    stage: int = 0,
    revisions: int = 0,
    record: Mapping[str, int] | None = None,
  ) -> None:
    """Saves a state with a counter `epoch`, and checksums of its record.

    Raises:
      OSError: it cannot be written, as on a full disk; older ones are whole.
    """
    number = (self.manager.latest_step() or 0) + 1
    place = Place(stage, int(state.epoch), whole, revisions)
    said = {'place': place, 'leaves': _layout(state), 'record': record or {}}
    items = ocp.args.Composite(
      vectors=ocp.args.StandardSave(_pack(jax.device_get(state))),
      layout=ocp.args.JsonSave(said),
    )
    self.places[number] = place
    try:
      self.manager.save(number, args=items)
      if parallel.leads():
        where = pathlib.Path(self.manager.directory) / str(number)
        _seal(where)
    except ValueError as error:  # so TensorStore says that it cannot write
      code = re.search(r"os_error_code='(\d+)'", str(error))
      if code is None:
        raise
      number, where = int(code[1]), str(self.manager.directory)
      raise OSError(number, os.strerror(number), where) from None

  @property
  def place(self) -> Place | None:
    """That of the latest; None if there is none."""
    return self.places.get(self.manager.latest_step())

  @property
  def record(self) -> dict[str, int]:
    """The checksums that were saved with the latest; {} without."""
    number = self.manager.latest_step()
    return {} if number is None else self._said(number).get('record', {})

  def latest(self, like: Tree) -> Tree | None:
    """The latest state, in the shapes of `like`, or None.

    Raises:
      BadInput: the checkpoint has another layout.
    """
    number = self.manager.latest_step()
    return None if number is None else self._restore(number, like)

  def after(self, stage: int, epoch: int, like: Tree) -> Tree:
    """The state at the end of a stage's epoch, counted from 0.

    Raises:
      BadInput: it is no longer there.
    """
    found = [
      number
      for number in self.manager.all_steps()
      if self.places.get(number, ())[:3] == (stage, epoch + 1, True)
    ]
    if not found:
      raise errors.BadInput(
        f'{self.manager.directory} no longer holds epoch {epoch + 1} of stage '
        f'{stage}, to which the method goes back: choose another --workdir'
      )
    return self._restore(max(found), like)

  def _restore(self, number: int, like: Tree) -> Tree:
    there, here = self._said(number).get('leaves', []), _layout(like)
    if odd := [a for a, b in zip(there, here, strict=False) if a != b]:
      name, kind, shape = odd[0]
      raise errors.BadInput(
        f'{self.manager.directory} holds another state: its {name} is {kind} '
        f'{shape}, which is not what this config makes: choose another '
        '--workdir'
      )
    if len(there) != len(here):
      raise errors.BadInput(
        f'{self.manager.directory} was written by another version of this '
        'program: choose another --workdir'
      )
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    vectors = ocp.args.StandardRestore(_pack(zeros))
    args = ocp.args.Composite(vectors=vectors)
    found = self.manager.restore(number, args=args)
    return parallel.replicate(_unpack(found.vectors, like))

  def _said(self, number: int) -> dict[str, Any]:
    """What a checkpoint says of itself; {} if it does not."""
    item = ocp.args.Composite(layout=ocp.args.JsonRestore())
    try:
      said = self.manager.restore(number, args=item).layout
    except (KeyError, ValueError):
      return {}
    return said if isinstance(said, dict) else {}


def _clean(folder: pathlib.Path) -> bool:
  """Removes damaged checkpoints; False if no other is left, and they stay.

  The latest may lack its seal, since a kill may come just before it; it then
  gets one, where that can be written.
  """
  there = [path for path in folder.glob('*') if path.name.isdigit()]
  there.sort(key=lambda path: int(path.name))
  sealed = {path: (path / SEAL).exists() for path in there}
  damaged = [path for path in there if sealed[path] and not _sound(path)]
  left = [path for path in there if path not in damaged]
  cut = [path for path in left if not sealed[path]]
  cut = [p for p in cut if p != left[-1] or not (p / COMMITTED).exists()]
  if damaged and not left:
    return False
  if damaged:
    print(f'{damaged[-1]} is damaged: going on from another checkpoint')
  for path in damaged + cut:
    shutil.rmtree(path)
  for path in left:
    if not sealed[path] and path not in cut:
      with contextlib.suppress(OSError):
        _seal(path)
  return True


def _seal(path):
  """Writes the checksums of a checkpoint's files."""
  artifacts.tidy(path)  # a kill may have come in the midst of this
  artifacts.write_json(path / SEAL, _checksums(path))


def _sound(path):
  """Whether a checkpoint's files are those that were sealed."""
  try:
    return artifacts.read_json(path / SEAL) == _checksums(path)
  except (errors.BadInput, OSError):
    return False


def _checksums(path):
  files = [file for file in path.rglob('*') if file.is_file()]
  return {
    file.relative_to(path).as_posix(): artifacts.checksum(file.read_bytes())
    for file in sorted(files)
    if file.name != SEAL
  }


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

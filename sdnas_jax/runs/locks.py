"""Shares the runs of a study among processes started on one folder.

A run belongs to the process that holds its lock, which the system lets go of
when that process ends, however it ends.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import os
import pathlib

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.runs import artifacts

try:
  import fcntl
except ImportError:  # not all systems have it; there, one process is all
  fcntl = None


def each(paths: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
  """The runs, one at a time, that no other process has while this one does.

  Joined hosts are one process: the leading one holds the locks. The runs'
  folders need not be there, unlike the one that they are in.
  """
  for path in paths:
    print(f'\n{path.name}\n', flush=True)
    with held(path, wait=False) as mine:
      if parallel.most(int(not mine))[0]:
        print('another process is at it')
      else:
        yield path


@contextlib.contextmanager
def held(path: pathlib.Path, wait: bool = True) -> Iterator[bool]:
  """Holds a path's lock, and says so; a host that does not lead needs none."""
  if not parallel.leads() or fcntl is None:
    yield True
    return
  with path.with_name(f'.{path.name}.lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
      yield False
    else:
      yield True


@contextlib.contextmanager
def alone(workdir: pathlib.Path) -> Iterator[None]:
  """Holds a run's folder, whose lock leaves no file; and tidies it up.

  Raises:
    BadInput: another process is at this run.
  """
  mine, busy = parallel.leads() and fcntl is not None, False
  folder = os.open(workdir, os.O_RDONLY) if mine else None
  try:
    if folder is not None:
      with contextlib.suppress(OSError):  # some file systems lock no folder
        try:
          fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
          busy = True
    if parallel.most(int(busy))[0]:
      raise errors.BadInput(
        f'another process is at the run in {workdir}: wait for it, or choose '
        'another --workdir'
      )
    if parallel.leads():
      artifacts.tidy(workdir)
    yield
  finally:
    if folder is not None:
      os.close(folder)


def done(path: pathlib.Path) -> bool:
  """Whether a run has come to its end, as far as this host can see."""
  try:
    result = artifacts.read_json(path / 'result.json')
    return bool(result) and not artifacts.broken(path)
  except errors.BadInput:  # it is made again
    return False

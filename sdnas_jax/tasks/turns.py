"""Shares the runs of a comparison among processes started on one folder.

A run belongs to the process that holds its lock, which the system lets go of
when that process ends, however it ends.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import fcntl
import pathlib

from sdnas_jax import parallel


def each(paths: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
  """The runs, one at a time, that no other process has while this one does.

  Joined hosts are one process: the leading one holds the locks.

  Args:
    paths: folders to be, in one that is there.
  """
  for path in paths:
    with _held(path) as mine:
      print(f'\n{path.name}\n', flush=True)
      if mine:
        yield path
      else:
        print('another process is at it')


def done(path: pathlib.Path) -> bool:
  """Whether a run has come to its end."""
  return (path / 'result.json').exists()


@contextlib.contextmanager
def _held(path: pathlib.Path) -> Iterator[bool]:
  with contextlib.ExitStack() as stack:
    mine = True
    if parallel.leads():
      lock = path.with_name(f'.{path.name}.lock')
      file = stack.enter_context(lock.open('w'))
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        mine = False
    yield bool(parallel.most(int(not mine))[0] == 0)

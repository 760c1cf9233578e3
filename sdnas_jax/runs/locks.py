"""Shares the runs of a study among processes started on one folder.

A run belongs to the process that holds its lock, which the system lets go of
when that process ends, however it ends.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import pathlib

from sdnas_jax import parallel

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


def done(path: pathlib.Path) -> bool:
  """Whether a run has come to its end, as far as this host can see."""
  return (path / 'result.json').exists()

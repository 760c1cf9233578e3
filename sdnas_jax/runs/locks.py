"""Shares the runs of a comparison among processes started on one folder.

A run belongs to the process that holds its lock, which the system lets go of
when that process ends, however it ends.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import fcntl
import pathlib
from typing import Any

from sdnas_jax import parallel

Runs = Mapping[pathlib.Path, tuple[Any, int]]  # folder -> name, seed


def each(paths: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
  """The runs, one at a time, that no other process has while this one does.

  Joined hosts are one process: the leading one holds the locks.

  Args:
    paths: folders to be, in one that is there.
  """
  for path in paths:
    print(f'\n{path.name}\n', flush=True)
    with _held(path, fcntl.LOCK_NB) as mine:
      if parallel.most(int(not mine))[0]:
        print('another process is at it')
      else:
        yield path


def share(
  workdir: pathlib.Path,
  names: Iterable[Any],
  seeds: int,
  run: Callable[..., None],
  write: Callable[[Runs], None],
  part: str = '',
) -> int:
  """Runs every name with every seed, and keeps what all write up to date.

  Args:
    workdir: of the comparison; a run's folder in it is `name-seed`.
    names: of what is compared.
    seeds: how many, from 0 on.
    run: (folder, name, seed) -> None.
    write: makes the tables, from the runs that are done.
    part: of a run's folder, whose end is the run's.

  Returns:
    How many runs there are.
  """
  pairs = [(name, seed) for seed in range(seeds) for name in names]
  runs = {workdir / f'{name}-{seed}': (name, seed) for name, seed in pairs}
  for path in each(runs):
    run(path, *runs[path])
    if parallel.leads():
      with alone(workdir):
        write({p: r for p, r in runs.items() if done(p / part)})
  return len(runs)


def alone(workdir: pathlib.Path) -> contextlib.AbstractContextManager[bool]:
  """Waits until no other process writes what all write together."""
  return _held(workdir / 'tables')


def done(path: pathlib.Path) -> bool:
  """Whether a run has come to its end, as far as this host can see."""
  return (path / 'result.json').exists()


@contextlib.contextmanager
def _held(path: pathlib.Path, flags: int = 0) -> Iterator[bool]:
  """Holds the lock of a path, or of a host that does not lead, nothing."""
  if not parallel.leads():
    yield True
    return
  with path.with_name(f'.{path.name}.lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | flags)
    except BlockingIOError:
      yield False
    else:
      yield True

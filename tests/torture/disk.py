"""Lets tiny runs fill a disk, then makes room and runs them again.

  python -m tests.torture.disk --count=12 --seed=0

One is a small file system in memory, which root alone may mount; where it may
not, that is skipped. The other is a limit on the size of any file. A full disk
must be one sentence and the exit code 1; with room, the same command must come
to the bits of a run that had it from the beginning.
"""

from collections.abc import Iterator
import contextlib
import pathlib
import shutil
import subprocess
import sys

import numpy as np

from tests import torture
from tests.torture import kills
from tests.torture import process

ROOMY = 2**28  # bytes


@contextlib.contextmanager
def small(folder: pathlib.Path, size: int) -> Iterator[bool]:
  """Within it, a folder is a file system of so many bytes, if it may be."""
  folder.mkdir()
  mine = _mount(folder, f'size={size}')
  try:
    yield mine
  finally:
    if mine:
      subprocess.run(['umount', str(folder)], check=True)
    shutil.rmtree(folder)


def _mount(folder, options):
  if shutil.which('mount') is None:
    return False
  own = 'mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)
  return not subprocess.run(own, capture_output=True).returncode


def on_small_disk(flags, workdir, size, expected):
  """Fills a small file system, which is then a large one."""
  with small(workdir, size) as mine:
    if not mine:
      return 'skipped'
    first = process.launch(flags, workdir)
    _mount(workdir, f'remount,size={ROOMY}')
    return outcome(first, flags, workdir, expected)


def in_small_files(flags, workdir, size, expected):
  """Lets no file be larger, and then any."""
  first = process.launch(flags, workdir, largest=size)
  try:
    return outcome(first, flags, workdir, expected)
  finally:
    shutil.rmtree(workdir, ignore_errors=True)


def outcome(first, flags, workdir, expected):
  """'fitted' or 'resumed', or a fault; after a run without much room."""
  told = [line for line in first.stderr.splitlines() if 'error: ' in line]
  if first.returncode not in (0, 1) or len(told) != first.returncode:
    return f'full: code {first.returncode}: {first.stderr[-900:]}'
  came = kills.outcome(process.launch(flags, workdir), workdir, expected)
  if came != 'same':
    return f'{came}, after {told}'
  return 'resumed' if told else 'fitted'


def tortured(
  count: int, seed: int, folder: pathlib.Path
) -> Iterator[tuple[str, str]]:
  """(what was done, what came of it) so many times."""
  rng, whole = np.random.default_rng(seed), kills.undisturbed(folder)
  for n in range(count):
    name = [*whole][n // 2 % len(whole)]
    flags, _, expected = whole[name]
    sizes = [p.stat().st_size for p in (folder / name).rglob('*')]
    way, most = (
      (on_small_disk, sum(sizes)),
      (in_small_files, max(sizes)),
    )[n % 2]
    size = int(rng.integers(4096, most))
    what = f'{n}: {name} {way.__name__} of {size} bytes'
    yield what, way(flags, folder / 'run', size, expected)


if __name__ == '__main__':
  good = 'resumed', 'fitted', 'skipped'
  sys.exit(torture.main('full disks', tortured, count=12, good=good))

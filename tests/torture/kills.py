"""Kills tiny runs at file events, and runs them again until they end.

  python -m tests.torture.kills --count=60 --seed=0

Searches that revise, stages, and a training. What one has found, the state of
its latest checkpoint and the names of its files must be those of a run that
nobody killed, bit for bit; whatever else comes of it is a fault.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np

from sdnas_jax import errors
from tests import torture
from tests.torture import process

LONGEST = 0.05  # seconds from an event to the kill


def killed(flags, workdir, events, rng):
  """Runs until it ends, killed once or twice; the last of the processes."""
  for _ in range(rng.integers(1, 3)):
    at = int(rng.integers(1, events + 1))
    delay = rng.choice([0.0, LONGEST * rng.random() + 1e-4])
    done = process.launch(flags, workdir, at, delay)
    if done.returncode >= 0:  # it ended before
      return done
  return process.launch(flags, workdir)


def outcome(
  done: subprocess.CompletedProcess,
  workdir: pathlib.Path,
  expected: Mapping[str, Any],
) -> str:
  """'same', or a fault."""
  if done.returncode:
    return f'failed: {done.returncode}: {" ".join(done.stderr.split())[-300:]}'
  found = torture.left(workdir) | torture.kept(workdir)
  odd = [name for name in expected if found[name] != expected[name]]
  told = [f'{name} {errors.cut(repr(found[name]), 900)}' for name in odd]
  return f'different: {", ".join(told)}' if odd else 'same'


def undisturbed(folder: pathlib.Path) -> dict[str, tuple[Any, ...]]:
  """Each run's flags, number of file events, and what it left in a folder."""
  whole = {}
  for name, flags in process.RUNS.items():
    done = process.launch(flags, folder / name)
    if done.returncode:
      raise RuntimeError(done.stderr)
    state = torture.left(folder / name) | torture.kept(folder / name)
    whole[name] = flags, process.events(done), state
  return whole


def tortured(
  count: int, seed: int, folder: pathlib.Path
) -> Iterator[tuple[str, str]]:
  """(what was done, what came of it) so many times."""
  rng, whole = np.random.default_rng(seed), undisturbed(folder)
  for n in range(count):
    name = [*whole][n % len(whole)]
    flags, events, expected = whole[name]
    done = killed(flags, folder / 'run', events, rng)
    yield f'{n}: {name}', outcome(done, folder / 'run', expected)
    shutil.rmtree(folder / 'run', ignore_errors=True)


if __name__ == '__main__':
  sys.exit(torture.main('kills', tortured, count=60, good=['same']))

"""Scripts that break what may break, count what comes of it, and draw by seed.

  python -m tests.torture.kills --count=60 --seed=0

Each prints its faults and a line of counts; the exit code is 1 on any fault.
"""

import argparse
import collections
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
import json
import pathlib
import random
import tempfile
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from sdnas_jax.runs import artifacts

PIECES = (
  *('', '[', ']', '{', '"', '\\', ',', ':', '\n', '\r', '\0', '|', '+', '~0'),
  *('1e999', 'NaN', '-', '9' * 5000, '[' * 3000, '\ud800', 'none', '"a":1,'),
)
DAMAGES = 'halved', 'emptied', 'cut', 'flipped', 'removed'
CLOCK = 'seconds', 'images_per_second'  # what no two runs share


def main(
  what: str,
  tortured: Callable[[int, int, pathlib.Path], Iterator[tuple[str, str]]],
  *,
  count: int,
  good: Collection[str],
) -> int:
  """Runs a script; returns its exit code.

  Args:
    what: is counted.
    tortured: (count, seed, an empty folder) -> what was done, and what came of
      it: a kind, behind which a colon and more may stand.
    count: by default.
    good: the kinds that are no faults.
  """
  given = argparse.ArgumentParser(description=what)
  given.add_argument('--count', type=int, default=count)
  given.add_argument('--seed', type=int, default=0)
  asked, counts = given.parse_args(), collections.Counter()
  with tempfile.TemporaryDirectory() as folder:
    for done, came in tortured(asked.count, asked.seed, pathlib.Path(folder)):
      kind = came.split(':')[0]
      counts[kind] += 1
      if kind not in good:
        print(f'{done}: {came}', flush=True)
  print(f'{what}: {dict(counts)}', flush=True)
  return int(any(kind not in good for kind in counts))


def left(workdir: pathlib.Path) -> dict[str, Any]:
  """What a run has found, but for the clock, file by file."""
  rows = artifacts.read_rows(workdir / 'metrics.csv')
  result = artifacts.read_json(workdir / 'result.json')
  objects = 'config.json', 'genotype.json'
  tables = 'genotypes.jsonl', 'revisions.jsonl'
  return {
    'metrics.csv': [_timeless(row) for row in rows],
    'result.json': json.dumps(_timeless(result)),
    **{n: artifacts.read_json(workdir / n) for n in objects},
    'spectrum.csv': artifacts.read_rows(workdir / 'spectrum.csv'),
    **{name: artifacts.read_lines(workdir / name) for name in tables},
    **{n: _bits(workdir / n) for n in ('alphas.npz', 'landscape.npz')},
  }


def _timeless(row):
  return {name: value for name, value in row.items() if name not in CLOCK}


def _bits(path):
  arrays = artifacts.read_arrays(path)
  return {name: (x.dtype, x.shape, x.tobytes()) for name, x in arrays.items()}


def kept(workdir: pathlib.Path) -> dict[str, Any]:
  """The latest checkpoint's state and place, and the names of all files."""
  numbers = sorted(map(int, names(workdir / 'checkpoints')))
  latest = (workdir / 'checkpoints' / str(numbers[-1])).absolute()
  vectors = ocp.StandardCheckpointer().restore(latest / 'vectors')
  said = json.loads((latest / 'layout' / 'metadata').read_text())
  return {
    'state': {k: np.asarray(v).tobytes() for k, v in vectors.items()},
    'place': (said['place'], said['leaves']),
    'names': names(workdir),
    'checkpoints': {
      n: names(workdir / 'checkpoints' / f'{n}') for n in numbers
    },
  }


def names(folder: pathlib.Path) -> list[str]:
  """Those in a folder, hidden ones too."""
  return sorted(path.name for path in folder.iterdir())


def contents(folder: pathlib.Path) -> dict[str, Any]:
  """All that lies in a folder, at any depth, and the bytes of its files."""
  return {
    path.relative_to(folder).as_posix(): path.is_file() and path.read_bytes()
    for path in folder.rglob('*')
  }


def spoil(path: pathlib.Path, way: str, rng: np.random.Generator) -> None:
  """Does one of the DAMAGES to a file."""
  content = bytearray(path.read_bytes())
  if way == 'flipped' and content:
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
  elif way == 'halved':
    del content[len(content) // 2 :]
  elif way == 'cut':
    del content[: rng.integers(1, len(content) + 1) if content else 0]
  else:
    content.clear()
  path.unlink() if way == 'removed' else path.write_bytes(bytes(content))


def mangled(rng: random.Random, content: bytes) -> bytes:
  """A content with a few pieces dropped, doubled, put in or changed."""
  made = bytearray(content)
  for _ in range(rng.choice([0, 1, 1, 2, 5])):
    at = rng.randrange(len(made) + 1)
    end = min(len(made), at + rng.choice([0, 1, 1, 8, 1000]))
    piece = rng.choice(PIECES).encode(errors='surrogatepass')
    new = rng.choice([b'', made[at:end] * 2, piece, rng.randbytes(end - at)])
    made[at:end] = new
  return bytes(made)

"""What a run writes, in one list, each file whole or not at all."""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import csv
import io
import json
import os
import pathlib
import re
import secrets
import tempfile
from typing import Any
import zlib

from flax import traverse_util
import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import npz

FILES = {
  'report.html': 'all of this on one page, for a browser',
  'config.json': 'the resolved config, versions and devices',
  'plan.json': 'sizes known before the run (--dry_run)',
  'metrics.csv': 'a row an epoch ("second": wall-clock columns)',
  'alphas.npz': 'epoch [E], and each kind of cell its alphas [E, edges, ops]',
  'genotype.json': 'the architecture: found so far, or trained',
  'genotypes.jsonl': 'the architecture after each epoch, a line an epoch',
  'revisions.jsonl': 'what the method changed between epochs, a line each',
  'normal.svg': 'the normal cell, drawn',
  'reduce.svg': 'the reduction cell, drawn',
  'cell.svg': 'the cell, where all are of one kind, drawn',
  'alphas.png': 'how the mixing weights evolved',
  'landscape.npz': 'steps [n], and loss and accuracy [n, n] around the end',
  'landscape.png': 'the same, drawn',
  'spectrum.csv': 'eigenvalues of the Hessian, and the share each stands for',
  'spectrum.png': 'the same, drawn',
  'rank.csv': 'architectures: accuracy in the supernet, and the true one',
  'rank.png': 'the same, drawn',
  'curves.png': 'losses and errors, epoch by epoch',
  'result.json': 'a finished run: its accuracy or error, size and time',
  'checksums.json': 'by which a file is known that was changed',
  'network.stablehlo': 'the trained network, for jax.export',
  'study.csv': 'all that is known of every run of a study',
  'study.md': 'means and deviations of its variants, for Markdown',
  'eigenvalues.csv': 'eigenvalue, sharpness and gap by method, seed, epoch',
  'eigenvalues.png': 'the same, drawn: means and deviations',
  'table.csv': 'the cell each run found, its true accuracies in %',
  'truth.csv': "the true accuracy of every epoch's cell, its skips",
  'truth.png': 'the same, drawn: means and deviations',
  'ablation.csv': 'the accuracies with each value and seed',
  'ablation.png': 'the same, drawn',
  'comparison.csv': 'the test error, size and time of every network',
  'comparison.png': 'the test errors, drawn',
  'tensorboard': 'the metrics as TensorBoard events',
  'checkpoints': 'what a run resumes from (orbax)',
}


SEAL = 'checksums.json'


def write(path: pathlib.Path, content: bytes | str) -> None:
  """Replaces a file at once: a reader sees the old content or the new."""
  data = content.encode() if isinstance(content, str) else content
  name = path.with_name(f'.{path.name}.{secrets.token_hex(4)}')
  try:
    with name.open('xb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(name, path)
  except BaseException:
    name.unlink(missing_ok=True)
    raise


def tidy(workdir: pathlib.Path) -> None:
  """Removes what killed runs have left of files that they were writing."""
  for path in workdir.glob('.*'):
    _, *name, end = path.name.split('.')
    if '.'.join(name) in FILES and re.fullmatch('[0-9a-f]{8}', end):
      path.unlink(missing_ok=True)


def seal(workdir: pathlib.Path) -> None:
  """Writes checksums.json, last of what belongs together."""
  others = 'plan.json', 'report.html', SEAL
  names = [n for n in there(workdir) if n not in others]
  names = [n for n in names if (workdir / n).is_file()]
  sums = {name: checksum((workdir / name).read_bytes()) for name in names}
  write_json(workdir / SEAL, sums)


def broken(workdir: pathlib.Path) -> list[str]:
  """The files that are not as they were sealed."""
  try:
    sums = read_json(workdir / SEAL)
  except errors.BadInput:
    return [SEAL]
  files = {name: workdir / name for name in sums}
  return [
    name
    for name, path in files.items()
    if not path.exists() or checksum(path.read_bytes()) != sums[name]
  ]


def checksum(content: bytes) -> int:
  """That of some bytes."""
  return zlib.crc32(content)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON, indented where that helps a reader."""
  write(path, json.dumps(value, indent=2) + '\n')


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
  """Within it, a file that cannot be understood is a sentence.

  Raises:
    BadInput: it is damaged.
  """
  try:
    yield
  except errors.BadInput:
    raise
  except (
    *(OSError, ValueError, LookupError, TypeError, RecursionError),
    csv.Error,
  ) as error:
    raise errors.BadInput(
      f'{path} is damaged ({type(error).__name__}: {str(error)[:80]}): restore '
      'it, or choose another folder'
    ) from error


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """The object of a JSON file; {} if there is none."""
  with reading(path):
    found = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(found, dict):
      raise TypeError('it holds no object')
    return found


def read_rows(path: pathlib.Path) -> list[dict[str, str]]:
  """The rows of a CSV; [] if there is none."""
  if not path.exists():
    return []
  with reading(path), path.open(newline='') as file:
    rows = list(csv.DictReader(file, strict=True))
    if any(None in (*row, *row.values()) for row in rows):
      raise ValueError('a row is longer or shorter than the first')
    return rows


def write_rows(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes a CSV."""
  text, cells = io.StringIO(), [c for row in rows for c in row.values()]
  # Python leaves a carriage return bare, which ends a row to its own reader.
  bare = any('\r' in str(cell) for cell in [*rows[0], *cells])
  table = csv.DictWriter(
    text,
    list(rows[0]),
    lineterminator='\n',
    quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL,
  )
  table.writeheader()
  table.writerows(rows)
  write(path, text.getvalue())


def read_lines(path: pathlib.Path) -> list[Any]:
  """The values of a file of JSON lines; [] if there is none."""
  if not path.exists():
    return []
  with reading(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: pathlib.Path, values: Iterable[Any]) -> None:
  """Writes JSON, a line a value."""
  write(path, ''.join(json.dumps(value) + '\n' for value in values))


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of an npz; {} if there is none."""
  if not path.exists():
    return {}
  with reading(path):
    return npz.read(path)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes an npz."""
  data = io.BytesIO()
  np.savez_compressed(data, **arrays)
  write(path, data.getvalue())


def compare(
  workdir: pathlib.Path, told: Mapping[str, int], found: Mapping[str, int]
) -> None:
  """Refuses files that are not what a checkpoint remembers of them."""
  for name in found:
    if told and told.get(name) != found[name]:
      raise errors.BadInput(
        f'{workdir / name} was changed since the run has written it: restore '
        'it, or choose another --workdir'
      )


def complete(path: pathlib.Path, epochs: Collection[Any], done: int) -> None:
  """Refuses a file that holds fewer epochs than were done."""
  if len(epochs) < done:
    raise errors.BadInput(
      f'{path} lacks epochs that were run: restore it, or choose another '
      '--workdir'
    )


def folder(path: pathlib.Path) -> None:
  """Makes a folder that can be written to.

  Raises:
    BadInput: if that cannot be.
  """
  try:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
      pass
  except OSError as error:
    raise errors.BadInput(
      f'cannot write to {path} ({error.strerror}): choose another --workdir'
    ) from error


def there(workdir: pathlib.Path) -> list[str]:
  """Which of the FILES a run's folder has."""
  return [name for name in FILES if (workdir / name).exists()]


def listing(workdir: pathlib.Path) -> str:
  """What lies in a run's folder, a line a file."""
  lines = [f'  {name:<18} {FILES[name]}' for name in there(workdir)]
  return '\n'.join([f'in {workdir}:', *lines])


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
  """A config's fields by their dotted names."""
  return traverse_util.flatten_dict(dict(config), sep='.')

"""What a run writes, in one list, each file whole or not at all."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import csv
import io
import json
import os
import pathlib
import tempfile
from typing import Any

import numpy as np

from sdnas_jax import errors

FILES = {
  'config.json': 'the resolved config, versions and devices',
  'plan.json': 'sizes known before the run (--dry_run)',
  'metrics.csv': 'a row an epoch ("second": wall-clock columns)',
  'alphas.npz': 'epoch [E], and each kind of cell its alphas [E, edges, ops]',
  'genotype.json': 'the architecture that the latest alphas stand for',
  'normal.svg': 'the normal cell, drawn',
  'reduce.svg': 'the reduction cell, drawn',
  'alphas.png': 'how the mixing weights evolved',
  'tensorboard': 'the metrics as TensorBoard events',
  'checkpoints': 'what a run resumes from (orbax)',
}
# Fields that change how a run is computed, not what.
FREE = ('steps_per_call', 'data.dir', 'model.depthwise')


def write(path: pathlib.Path, content: bytes | str) -> None:
  """Replaces a file at once: a reader sees the old content or the new."""
  data = content.encode() if isinstance(content, str) else content
  handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
  try:
    with os.fdopen(handle, 'wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)
  except BaseException:
    pathlib.Path(name).unlink(missing_ok=True)
    raise


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON, indented where that helps a reader."""
  write(path, json.dumps(value, indent=2) + '\n')


def read_rows(path: pathlib.Path, epochs: int) -> list[dict[str, str]]:
  """The rows of the first `epochs` epochs of a metrics.csv."""
  if not path.exists():
    return []
  with path.open(newline='') as file:
    return [row for row in csv.DictReader(file) if int(row['epoch']) < epochs]


def write_rows(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes a metrics.csv."""
  text = io.StringIO()
  table = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  write(path, text.getvalue())


def read_history(path: pathlib.Path, epochs: int) -> dict[str, np.ndarray]:
  """The alphas of the first `epochs` epochs of an alphas.npz; {} if none."""
  if not path.exists():
    return {}
  with np.load(path) as file:
    keep = file['epoch'] < epochs
    return {name: file[name][keep] for name in file.files}


def write_history(
  path: pathlib.Path, history: Mapping[str, np.ndarray]
) -> None:
  """Writes an alphas.npz."""
  data = io.BytesIO()
  np.savez_compressed(data, **history)
  write(path, data.getvalue())


def claim(workdir: pathlib.Path, config: dict[str, Any], **about: Any) -> None:
  """Takes a folder for a run of this config, or finds that run there.

  Raises:
    BadInput: if the folder holds a run with another config, or anything but a
      run, or cannot be written.
  """
  path = workdir / 'config.json'
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    strangers = sorted(p.name for p in workdir.iterdir())
  except OSError as error:
    raise errors.BadInput(
      f'cannot write to {workdir} ({error.strerror}): choose another --workdir'
    ) from error
  if path.exists():
    try:
      there = json.loads(path.read_text())['config']
    except (ValueError, KeyError, TypeError) as error:
      raise errors.BadInput(
        f'{path} is not the record of a run ({error}): choose another --workdir'
      ) from error
    differences = list(compare(there, config))
    if differences:
      raise errors.BadInput(
        f'{workdir} holds a run with another config '
        f'({"; ".join(differences)}): choose another --workdir, or remove it'
      )
  elif set(strangers) & (set(FILES) - {'plan.json'}):
    raise errors.BadInput(
      f'{workdir} holds files of a run but no config.json: choose another '
      '--workdir'
    )
  else:
    try:
      write_json(path, {'config': config, **about})
    except OSError as error:
      raise errors.BadInput(
        f'cannot write to {workdir} ({error.strerror}): choose another '
        '--workdir'
      ) from error


def compare(there: dict[str, Any], here: dict[str, Any]) -> Iterable[str]:
  """Sentences about the fields in which two configs differ."""
  one, two = dict(_flat(there)), dict(_flat(here))
  for name in sorted(one.keys() | two.keys()):
    if name not in FREE and one.get(name) != two.get(name):
      yield f'{name} is {one.get(name)!r} there and {two.get(name)!r} here'


def _flat(tree, prefix=''):
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _flat(value, f'{prefix}{name}.')
    else:
      yield prefix + name, value

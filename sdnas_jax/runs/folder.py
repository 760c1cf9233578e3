"""A run's folder: who may use it, and what it records first."""

import importlib.metadata
import json
import pathlib
import platform
import re
from typing import Any

import jax
from ml_collections import ConfigDict

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.runs import artifacts

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def enter(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Makes the folder, unless another run has it.

  Raises:
    BadInput: it holds a run of another config, or one whose config.json was
      changed, or cannot be written.
  """
  given = config.to_dict()
  free = {*_free(given)}
  if (workdir / 'config.json').exists():
    there = artifacts.flat(about(workdir)['config'])
    here = artifacts.flat(json.loads(json.dumps(given)))  # tuples are lists
    differences = [
      f'{name} is {there.get(name)!r} there and {here.get(name)!r} here'
      for name in sorted(there.keys() | here.keys())
      if name not in free and there.get(name) != here.get(name)
    ]
    if differences:
      raise errors.BadInput(
        f'{workdir} holds a run with another config '
        f'({"; ".join(differences)}): choose another --workdir, or remove it'
      )
    if 'config.json' in artifacts.broken(workdir):
      raise errors.BadInput(
        f'{workdir / "config.json"} is not as {artifacts.SEAL} has it: restore '
        'them, or choose another --workdir'
      )
  # Another host may have written the config since.
  elif there := {*artifacts.there(workdir)} - {'plan.json', 'config.json'}:
    raise errors.BadInput(
      f'{workdir} holds {min(there)}, a file of a run, but no config.json: '
      'choose another --workdir'
    )
  artifacts.folder(workdir)


def about(workdir: pathlib.Path) -> dict[str, Any]:
  """What the run that has a folder has recorded of itself.

  Raises:
    BadInput: none has, or its record is damaged.
  """
  try:
    found = json.loads((workdir / 'config.json').read_text())
    found['config']['task']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.BadInput(
      f'{workdir} holds no run, for its config.json is not the record of one '
      f'({type(error).__name__}: {error}): choose another folder'
    ) from error
  return found


def _free(given, prefix=''):
  """The fields that do not change what a run computes."""
  for name in (
    'steps_per_call',
    'sharpness.landscape',
    'sharpness.spectrum',
    'rank.samples',
    'rank.batches',
  ):
    yield f'{prefix}{name}'
  # A file may be named by another path; what is in it is compared elsewhere.
  yield f'{prefix}data.dir'
  if re.search('[./]', str(given.get('genotype'))):  # a path
    yield f'{prefix}genotype'
  for name in ('search', 'evaluate'):
    if name in given:
      yield from _free(given[name], f'{prefix}{name}.')


def claim(
  workdir: pathlib.Path, config: ConfigDict, data: dict[str, Any] | None = None
) -> None:
  """Makes the folder that of a run of this config and data, unless it is.

  Raises:
    BadInput: it is that of a run on other data.
  """
  path = workdir / 'config.json'
  data = json.loads(json.dumps(data))
  if path.exists():
    known = about(workdir).get('data')
    odd = [k for k in known or () if data and known[k] != data.get(k)]
    if odd:
      raise errors.BadInput(
        f'{workdir} holds a run on other data ({odd[0]} was {known[odd[0]]}, '
        f'not {data.get(odd[0])}): give it those, or choose another --workdir'
      )
    return
  if not parallel.leads():
    return
  artifacts.folder(workdir)
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  record = {
    'config': config.to_dict(),
    'data': data,
    'versions': {**versions, 'python': platform.python_version()},
    'devices': [f'{d.platform}: {d.device_kind}' for d in jax.devices()],
  }
  artifacts.write_json(path, record)


def plan(workdir: pathlib.Path, sizes: dict[str, int]) -> None:
  """Writes and prints plan.json."""
  artifacts.folder(workdir)
  if parallel.leads():
    artifacts.write_json(workdir / 'plan.json', sizes)
  for name, value in sizes.items():
    print(f'{name:<20} {value:>14,}')
  print(f'{workdir / "plan.json"} is written; nothing was run')

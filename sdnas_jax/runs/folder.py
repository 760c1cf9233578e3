"""A run's folder: who may use it, and what it records first."""

import importlib.metadata
import pathlib
import platform

import jax
from ml_collections import ConfigDict

from sdnas_jax import parallel
from sdnas_jax.runs import artifacts

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def enter(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Makes the folder, unless another run has it.

  Raises:
    BadInput: it holds a run of another config, or cannot be written.
  """
  given = config.to_dict()
  artifacts.inspect(workdir, given, [*_free(given)])
  artifacts.folder(workdir)


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
  # A TFDS data set is the same wherever it lies; a file of arrays is not.
  if given.get('data', {}).get('name') != 'arrays':
    yield f'{prefix}data.dir'
  # A file may be named by another path; what is in it is compared elsewhere.
  if str(given.get('genotype')).endswith('.json'):
    yield f'{prefix}genotype'
  for name in ('search', 'evaluate'):
    if name in given:
      yield from _free(given[name], f'{prefix}{name}.')


def claim(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Writes config.json, unless it is there."""
  if parallel.leads():
    devices = [f'{d.platform}: {d.device_kind}' for d in jax.devices()]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions['python'] = platform.python_version()
    artifacts.claim(
      workdir, config.to_dict(), versions=versions, devices=devices
    )


def plan(workdir: pathlib.Path, sizes: dict[str, int]) -> None:
  """Writes and prints plan.json."""
  artifacts.folder(workdir)
  if parallel.leads():
    artifacts.write_json(workdir / 'plan.json', sizes)
  for name, value in sizes.items():
    print(f'{name:<20} {value:>14,}')
  print(f'{workdir / "plan.json"} is written; nothing was run')

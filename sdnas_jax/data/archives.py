"""CIFAR as its authors give it for Python, and as torchvision leaves it.

  >>> path = archives.find('cifar10', 'data')  # data/cifar-10-python.tar.gz
  >>> images, labels = archives.load('cifar10', path, 'train')

The files are pickles, which may call anything by its name. Here three names are
known, and stand for classes of this file that only keep bytes. Nothing else is
called, not even NumPy, whose types can be given states that crash it.
"""

from collections.abc import Iterator
import os
import pathlib
import pickle
import tarfile
from typing import BinaryIO
from typing import NamedTuple

import numpy as np

from sdnas_jax import errors


class Layout(NamedTuple):
  """Where an archive has its images and labels."""

  folder: str
  archive: str
  labels: bytes  # what they are called
  train: tuple[str, ...]  # files, in their order
  test: tuple[str, ...]


LAYOUTS = {
  'cifar10': Layout(
    'cifar-10-batches-py',
    'cifar-10-python.tar.gz',
    b'labels',
    tuple(f'data_batch_{n}' for n in range(1, 6)),
    ('test_batch',),
  ),
  'cifar100': Layout(
    'cifar-100-python',
    'cifar-100-python.tar.gz',
    b'fine_labels',
    ('train',),
    ('test',),
  ),
}


def find(name: str, place: str) -> pathlib.Path | None:
  """The folder of batches or the archive that is, or lies in, a place."""
  own, path = LAYOUTS[name], pathlib.Path(place)
  tried = path, path / own.folder, path / own.archive
  for one in tried if place else ():
    archive = one.name.endswith('.tar.gz') and os.path.isfile(one)
    if archive or os.path.isfile(one / own.train[0]):
      return one
  return None


def load(
  name: str, path: pathlib.Path, part: str
) -> tuple[np.ndarray, np.ndarray]:
  """A part's images [N, 32, 32, 3] and labels [N], in the files' order.

  Raises:
    BadInput: a file cannot be read, or is none of CIFAR.
  """
  own = LAYOUTS[name]
  try:
    files = _opened(path, own.folder, getattr(own, part))
    found = [_batch(content, own.labels) for content in files]
  except Exception as error:  # of many types, by where the damage is
    raise errors.BadInput(
      f'{path} is not {name} as its authors give it ({errors.told(error)}): '
      f'point --config.data.dir at their {own.archive}'
    ) from error
  images, labels = zip(*found, strict=True)
  return np.concatenate(images), np.concatenate(labels)


def _opened(
  path: pathlib.Path, folder: str, files: tuple[str, ...]
) -> Iterator[BinaryIO]:
  """One after the other, without unpacking an archive of that folder."""
  if path.is_dir():
    for file in files:
      with (path / file).open('rb') as content:
        yield content
    return
  with tarfile.open(path) as archive:
    for file in files:
      yield archive.extractfile(f'{folder}/{file}')


def _batch(content, name):
  """A file's images and labels."""
  table = _Unpickler(content, encoding='bytes').load()
  labels = np.array(table[name])
  if labels.ndim != 1 or labels.dtype.kind != 'i':
    raise ValueError('its labels are no integers')
  images = np.frombuffer(table[b'data'].raw, np.uint8)
  images = images.reshape(len(labels), 3, 32, 32).transpose(0, 2, 3, 1)
  return images, labels.astype(np.int32)


class _Array:
  """An array of bytes, by the state that NumPy has pickled."""

  def __init__(self, *ignored):
    self.raw = b''

  def __setstate__(self, state):
    *_, kind, columns_first, self.raw = state
    if kind.code not in ('u1', b'u1') or columns_first:
      raise ValueError('its images are no bytes in rows')


class _Kind:
  """The type of an array's elements."""

  def __init__(self, code, *ignored):
    self.code = code

  def __setstate__(self, state):
    pass  # byte order and the like


NAMES = {
  ('numpy.core.multiarray', '_reconstruct'): _Array,
  ('numpy', 'ndarray'): _Array,
  ('numpy', 'dtype'): _Kind,
}


class _Unpickler(pickle.Unpickler):
  """Knows what a pickled array of bytes is of, and nothing else."""

  def find_class(self, module, name):
    """Stands in for an import."""
    if (module, name) not in NAMES:
      raise pickle.UnpicklingError(f'it names {module}.{name}')
    return NAMES[module, name]

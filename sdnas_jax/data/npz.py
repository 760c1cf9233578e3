"""Reads an npz that a stranger may have written."""

from collections.abc import Collection
from collections.abc import Iterator
import contextlib
import math
import pathlib
import zipfile

import numpy as np

HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


def read(
  path: str | pathlib.Path, names: Collection[str] = ()
) -> dict[str, np.ndarray]:
  """The arrays of those names, or all; nothing is unpickled.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is damaged, or no npz, or lacks a name.
  """
  with _opened(path) as (file, there):
    if lacks := [name for name in names if name not in there]:
      raise ValueError(f'it has no {lacks[0]!r}')
    return {name: _array(file, there[name]) for name in names or there}


def names(path: str | pathlib.Path) -> list[str]:
  """Those of its arrays; raises as `read` does."""
  with _opened(path) as (_, there):
    return [*there]


@contextlib.contextmanager
def _opened(
  path: str | pathlib.Path,
) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
  """The archive, and what is in it by the arrays' names."""
  with open(path, 'rb') as content:
    try:
      with zipfile.ZipFile(content) as file:
        yield file, {i.filename.removesuffix('.npy'): i for i in file.filelist}
    except Exception as error:  # of many types, by where the damage is
      raise ValueError(f'{type(error).__name__}: {error}') from error


def _array(file, info):
  """An array; its header may claim no more than there is."""
  with file.open(info) as member:
    shape, _, kind = HEADERS[np.lib.format.read_magic(member)](member)
    if math.prod(shape) * kind.itemsize > info.file_size:
      raise ValueError(f'{info.filename} is shorter than its header says')
  with file.open(info) as member:
    return np.lib.format.read_array(member, allow_pickle=False)

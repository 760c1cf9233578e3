"""A folder of pictures, in a sub-folder for each class.

  flowers/daisy/*.jpg   or   flowers/train/daisy/*.jpg
  flowers/rose/*.png         flowers/train/rose/*.png
                             flowers/test/daisy/*.jpg

as torchvision's and TFDS's `ImageFolder` read them. What lies deeper in a class
is of it too, but links to folders there are not followed: they may go in
circles.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import os
import pathlib

import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import arrays
from sdnas_jax.data import dataset
from sdnas_jax.data import decode

SUFFIXES = (
  *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.gif', '.bmp', '.webp'),
  *('.tif', '.tiff', '.ppm', '.pgm', '.pbm', '.pnm'),
)
TRAIN = 'train', 'training'
LITTER = '__MACOSX', 'Thumbs.db', 'desktop.ini'  # and what begins with a dot

Classes = Mapping[str, Sequence[pathlib.Path]]  # each with its files


def read(folder: str, size: int = 0) -> dataset.Source:
  """Pictures in a folder a class, or in train/ and test/.

  Classes are numbered by the order of their names, and each one's pictures are
  in that of theirs. The test part may also be called validation, or val.

  Args:
    folder: that of the classes or parts.
    size: the side of all pictures; see `decode.every`.

  Raises:
    BadInput: it is no such folder, or holds pictures that cannot be read.
  """
  if not os.path.isdir(folder):
    raise errors.BadInput(
      f'there is no folder {folder!r}: point --config.data.dir at one that '
      'holds a folder of pictures for each class'
    )
  root = pathlib.Path(folder)
  try:
    parts, left = _parts(root)
    files = [{p.name: [*_files(p)] for p in _folders(part)} for part in parts]
  except OSError as error:
    raise errors.BadInput(
      f'cannot list {folder!r} ({errors.told(error)}): mend its permissions'
    ) from error
  found = [{k: _pictures(v) for k, v in part.items()} for part in files]
  train, test = [*found, {}][:2]
  _check(parts[0], train, test)
  every = [path for part in files for paths in part.values() for path in paths]
  odd = [_text(p.relative_to(root)) for p in every if not _pictures([p])]
  return _source(root, size, train, test).noting(
    f'left out beside {parts[0].name}: {", ".join(left)}' if left else '',
    f'left out, since their names are not those of pictures: {len(odd)} files, '
    f'as {odd[0]}'
    if odd
    else '',
  )


def _source(root: pathlib.Path, size: int, train: Classes, test: Classes):
  """The pictures of all classes, decoded."""
  found = [
    (path, label)
    for part in (train, test)
    for label, name in enumerate(train)
    for path in part.get(name, ())
  ]
  files = [
    (_text(path.relative_to(root)), functools.partial(_open, path))
    for path, _ in found
  ]
  images, resized = decode.every(files, size)
  labels = np.array([label for _, label in found], np.int32)
  count = sum(map(len, train.values()))
  held = (images[count:], labels[count:]) if len(found) > count else None
  ours, names = (images[:count], labels[:count]), tuple(map(_text, train))
  return arrays.from_arrays(*ours, held, names).noting(resized)


def _parts(root):
  """The folders of one or two parts, and the names of those left out."""
  there = {path.name.lower(): path for path in _folders(root)}
  train = next((there[name] for name in TRAIN if name in there), None)
  if train is None or not _folders(train):
    return [root], []
  tests = [there[name] for name in dataset.TESTS if name in there]
  # A test without classes has no labels, as where it is a competition's.
  parts = [train, *[path for path in tests if _folders(path)][:1]]
  return parts, [_text(p.name) for p in there.values() if p not in parts]


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.iterdir() if _seen(p.name) and p.is_dir())


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """All files of a folder and those in it, sorted."""
  for place, below, names in os.walk(folder, onerror=_raise):
    below[:] = sorted(filter(_seen, below))
    for name in sorted(filter(_seen, names)):
      yield pathlib.Path(place, name)


def _raise(error):
  raise error


def _seen(name):
  return not name.startswith('.') and name not in LITTER


def _pictures(paths):
  return [path for path in paths if path.suffix.lower() in SUFFIXES]


def _open(path):
  if not path.is_file():  # opening a pipe would wait for who writes into it
    raise OSError('it is no file, or a link to none')
  return path.open('rb')


def _text(name):
  """A name that can be written, whatever bytes it is of."""
  return os.fsencode(name).decode(errors='replace')


def _check(place: pathlib.Path, train: Classes, test: Classes) -> None:
  """Refuses what is no set of classes."""
  bare = [name for name, paths in train.items() if not paths]
  if len(bare) == len(train):
    raise errors.BadInput(
      f'{place} has no folders of pictures ({" ".join(SUFFIXES)}): make one '
      'for each class'
    )
  if len(train) == 1:
    raise errors.BadInput(
      f'{place} has one class, {errors.short(*train)}, from which '
      'nothing can be learnt: point --config.data.dir at a folder of several'
    )
  if bare:
    raise errors.BadInput(
      f'the class {bare[0]!r} in {place} has no pictures '
      f'({" ".join(SUFFIXES)}): add some, or remove its folder'
    )
  if more := [name for name in test if name not in train and test[name]]:
    raise errors.BadInput(
      f'the test pictures have a class {more[0]!r}, which those to train on in '
      f'{place} have not: rename or remove it'
    )

"""Any data set of TFDS with one picture and one class an example, by its name.

  >>> source = named.read('mnist', '')
  >>> source = named.read('oxford_flowers102', '', size=64)

It is downloaded and decoded at once, even by a dry run: TFDS knows its classes,
but not its mean and deviation, nor the size of its pictures. Those that are
stored as PNG or JPEG, all of TFDS's own, are decoded as a folder's are.
"""

import functools
import io
import os
import re

import numpy as np

from sdnas_jax import errors
from sdnas_jax import tf
from sdnas_jax.data import arrays
from sdnas_jax.data import dataset
from sdnas_jax.data import decode
from sdnas_jax.data import prepared

NAME = re.compile(r'(\w+)(/[\w.-]+)?(:[\d.*]+)?')  # mnist, cmaterdb/devanagari


def knows(name: str, folder: str) -> bool:
  """Whether TFDS has a data set of that name, or a folder it has prepared."""
  parsed = NAME.fullmatch(name)
  if not parsed:
    return False
  there = os.path.join(prepared.place(folder), parsed[1])
  return os.path.isdir(there) or parsed[1] in names()


def names() -> list[str]:
  """Those of all TFDS's data sets, most of which are not of pictures."""
  tf.prepare()
  import tensorflow_datasets as tfds

  return tfds.list_builders(with_community_datasets=False)


def read(name: str, folder: str, size: int = 0) -> dataset.Source:
  """Any image classification data set of TFDS, by its name there.

  Its part to test on is the first of `dataset.TESTS` that it has.

  Args:
    name: as TFDS takes it, also with a configuration or a version.
    folder: where it is prepared; '' is TFDS_DATA_DIR, or TFDS's own default.
    size: the side of all pictures; see `decode.every`.

  Raises:
    BadInput: it cannot be had, is no such data set, or has none to train on.
  """
  with prepared.opened(name, folder) as builder:
    keys = _keys(name, builder.info.features, builder.info.supervised_keys)
    parts, left = _parts(name, builder.info.splits)
    found = [_read(builder, part, *keys) for part in parts]
    classes = tuple(builder.info.features[keys[1]].names)
  files = [
    (f'{part} {n}', functools.partial(io.BytesIO, content))
    for part, (contents, _) in zip(parts, found, strict=True)
    for n, content in enumerate(contents)
  ]
  images, resized = decode.every(files, size)
  count = len(found[0][0])
  ours, *held = zip(
    (images[:count], images[count:]), (y for _, y in found), strict=False
  )
  return arrays.from_arrays(*ours, *held, names=classes).noting(
    resized, f'left out: {", ".join(left)}' if left else ''
  )


def _keys(name, features, supervised):
  """What an example's picture and its class are called."""
  import tensorflow_datasets as tfds

  tried = [key for key in supervised or features if key in features]
  found = [
    [key for key in tried if isinstance(features[key], kind)]
    for kind in (tfds.features.Image, tfds.features.ClassLabel)
  ]
  if [*map(len, found)] != [1, 1]:
    raise errors.BadInput(
      f'{name} has {len(found[0])} pictures and {len(found[1])} classes an '
      'example: choose an image classification data set, which has one of each'
    )
  return found[0][0], found[1][0]


def _parts(name, splits):
  """The parts to train and, if there is one, to test on, and those left out."""
  there = [part for part in splits if splits[part].num_examples]
  if 'train' not in there:
    raise errors.BadInput(
      f'{name} has no part to train on, but {", ".join(there) or "none"}: '
      'choose another data set'
    )
  tests = [part for part in dataset.TESTS if part in there]
  parts = ['train', *tests[:1]]
  return parts, [part for part in there if part not in parts]


def _read(builder, part, image, label):
  """The encoded pictures and the classes of a part, in their files' order."""
  import tensorflow_datasets as tfds

  table = builder.as_dataset(
    split=part,
    decoders={image: tfds.decode.SkipDecoding()},
    read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
  )
  rows = [(row[image], row[label]) for row in table.as_numpy_iterator()]
  contents, labels = zip(*rows, strict=True) if rows else ((), ())
  return contents, np.array(labels, np.int32)

"""Where images come from. A user's own data set is one entry of `SOURCES`.

  >>> source = sources.find('digits', '')
  >>> images, labels = source.load('train')  # uint8 [N, H, W, C], int32 [N]

or, without touching the code, a folder of pictures in a folder for each class,
`--config.data.name=folder --config.data.dir=flowers`; a file written by
`np.savez('mine.npz', images=..., labels=...)`, `--config.data.name=arrays
--config.data.dir=mine.npz`; or what TFDS knows, `--config.data.name=mnist`.
"""

from collections.abc import Callable
import functools
import os

import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import archives
from sdnas_jax.data import arrays
from sdnas_jax.data import named
from sdnas_jax.data import pictures
from sdnas_jax.data import prepared
from sdnas_jax.data.dataset import Source

CIFAR10 = (
  *('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse'),
  *('ship', 'truck'),
)


def cifar(
  name: str, classes: int, mean, std, folder: str, names: tuple[str, ...] = ()
) -> Source:
  """CIFAR-10 or CIFAR-100 in the order of the original files.

  Of its authors' archive for Python, or the folder in it, if that is or lies in
  `folder`; else through TFDS, whose images and order are the same.
  """
  load = functools.partial(prepared.load, name, folder)
  if archive := archives.find(name, folder):
    load = functools.partial(archives.load, name, archive)
  shape = 32, 32, 3
  return Source(50_000, 10_000, shape, classes, mean, std, load, names=names)


def imagenet(
  name: str, classes: int, examples: int, tests: int, folder: str
) -> Source:
  """ImageNet, or a TFDS data set of JPEGs like it, as crops of 224 pixels."""
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  read = functools.partial(prepared.stream, name, folder)
  return Source(examples, tests, (224, 224, 3), classes, mean, std, None, read)


def imagenet16(classes: int, examples: int, tests: int, folder: str) -> Source:
  """The first classes of ImageNet at 16 x 16 pixels, as NAS-Bench-201 has them.

  Their order is TFDS's, by a hash of each image's file and place. The benchmark
  takes the labels 1 to `classes` of the downsampled ImageNet's files; TFDS's
  builder reads the same files, and its labels are theirs less 1.
  """
  mean = tuple(x / 255 for x in (122.68, 116.66, 104.01))
  std = tuple(x / 255 for x in (63.22, 61.26, 65.09))
  load = functools.partial(
    prepared.load_first, classes, {'train': examples, 'test': tests}, folder
  )
  return Source(examples, tests, (16, 16, 3), classes, mean, std, load)


def digits(folder: str) -> Source:
  """The 1,797 handwritten 8x8 digits that come with scikit-learn."""
  del folder

  def load(part):
    del part
    from sklearn.datasets import load_digits

    table = load_digits()
    images = np.round(table.images * (255 / 16)).astype(np.uint8)
    return images[..., None], table.target.astype(np.int32)

  names = tuple(map(str, range(10)))
  return Source(1797, 0, (8, 8, 1), 10, (0.3053,), (0.3759,), load, names=names)


# The constants of DARTS's code for CIFAR-10.
SOURCES: dict[str, Callable[[str], Source]] = {
  'arrays': arrays.read,
  'cifar10': functools.partial(
    cifar,
    'cifar10',
    10,
    (0.49139968, 0.48215827, 0.44653124),
    (0.24703233, 0.24348505, 0.26158768),
    names=CIFAR10,
  ),
  'cifar100': functools.partial(
    cifar,
    'cifar100',
    100,
    (0.5071, 0.4865, 0.4409),
    (0.2673, 0.2564, 0.2762),
  ),
  'digits': digits,
  'imagenet16-120': functools.partial(imagenet16, 120, 151_700, 6_000),
  'imagenet2012': functools.partial(
    imagenet, 'imagenet2012', 1000, 1_281_167, 50_000
  ),
}


# Those that resize their pictures, and so are told a size too.
SIZED: dict[str, Callable[[str, int], Source]] = {'folder': pictures.read}


def find(name: str, folder: str, size: int = 0) -> Source:
  """The source of that name, or TFDS's data set.

  Args:
    folder: where it looks, or its file; '' its default.
    size: the side to which pictures are resized; see `decode.every`.

  Raises:
    BadInput: there is none, it refuses what it finds, or cannot resize.
  """
  if name in SIZED:
    return SIZED[name](folder, size)
  if name not in SOURCES:
    if not named.knows(name, folder):
      if isinstance(name, str) and name and os.path.exists(name):
        kind, place = at(name)
        raise errors.BadInput(
          f'unknown data set {errors.short(name)}: of what lies there, say '
          f'--config.data.name={kind} --config.data.dir={errors.cut(place)}'
        )
      ours = *SOURCES, *SIZED, 'or any of TFDS by its name'
      errors.pick('data set', name, ours, named.names())
    return named.read(name, folder, size)
  if size:
    raise errors.BadInput(
      f'the images of {name} are of one size: set --config.data.size=0'
    )
  return SOURCES[name](folder)


def at(place: str) -> tuple[str, str]:
  """The name and folder for `find` of what is a name, or the path of data.

  Raises:
    BadInput: it can but be a path, and there is nothing.
  """
  if os.path.isdir(place):
    return 'folder', place
  if os.path.isfile(place):
    return 'arrays', place
  if os.path.isabs(place) or place.startswith(('.', '~')):
    raise errors.BadInput(
      f'there is nothing at {errors.cut(place, 200)}: give a folder of '
      'pictures, a .npz file, or the name of a data set'
    )
  return place, ''

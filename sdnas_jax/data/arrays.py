"""A user's own images, as arrays or in a file of them."""

from collections.abc import Collection
import math

import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import npz
from sdnas_jax.data.dataset import Source

PIXEL = 1 / 255  # the least deviation of a channel
# What images and labels are called, in lower case; the first that are there.
TRAIN = (
  ('images', 'labels'),
  ('train_images', 'train_labels'),  # MedMNIST
  ('x_train', 'y_train'),  # Keras
  ('x', 'y'),
  ('data', 'target'),  # scikit-learn
  ('data', 'labels'),
)
TEST = (
  ('test_images', 'test_labels'),
  ('x_test', 'y_test'),
  ('val_images', 'val_labels'),
  ('x_val', 'y_val'),
)


def read(file: str) -> Source:
  """An npz of images and labels, also as Keras or MedMNIST do.

  It has `images` uint8 [N, H, W, C] or [N, H, W] and `labels` [N] or [N, 1], or
  what TRAIN has instead. What TEST has is its test part.

  Raises:
    BadInput: it cannot be read or has no such arrays, or `from_arrays` refuses
      them.
  """
  try:
    names = npz.names(file)
    pairs = _pairs(names)
    used = [name for pair in pairs for name in pair]
    found = npz.read(file, used)
  except (OSError, ValueError) as error:
    raise errors.BadInput(
      f'cannot read images and labels from {file!r} ({error}); point '
      '--config.data.dir at a file written by np.savez(path, images=, labels=)'
    ) from error
  train, *test = [(found[images], found[labels]) for images, labels in pairs]
  left = [name for name in names if name not in used]
  return from_arrays(*train, *test).noting(
    f'left out of the file: {", ".join(left)}' if left else ''
  )


def _pairs(names: Collection[str]) -> list[tuple[str, str]]:
  """What images and labels are called, to train on and, if there, to test."""
  there = {name.lower(): name for name in names}
  train, test = (
    [tuple(map(there.get, pair)) for pair in known if {*pair} <= {*there}]
    for known in (TRAIN, TEST)
  )
  if not train:
    known = ' or '.join(map(', '.join, TRAIN))
    raise ValueError(f'it has {", ".join(names)}, but neither {known}')
  return train[:1] + test[:1]


def from_arrays(
  images: np.ndarray,
  labels: np.ndarray,
  test: tuple[np.ndarray, np.ndarray] | None = None,
  names: tuple[str, ...] = (),
) -> Source:
  """A source of arrays in memory.

  Args:
    images: uint8 [N, height, width, channels], or [N, height, width].
    labels: integers [N], or [N, 1], counted from 0.
    test: such images and labels again, to test on.
    names: of the classes; without them each class must have an image.

  Raises:
    BadInput: if they are not such arrays.
  """
  images, labels = _checked(images, labels)
  classes = _classes(labels, len(names))
  parts = {'train': (images, labels)}
  if test is not None:
    with errors.within('test'):
      parts['test'] = _checked(*test)
      _fits(*parts['test'], images.shape[1:], classes)
  mean, std = moments(images)
  return Source(
    len(images),
    len(parts['test'][1]) if test else 0,
    images.shape[1:],
    classes,
    mean,
    tuple(max(x, PIXEL) for x in std),
    parts.__getitem__,
    own=True,
    names=names,
  ).noting(_flat(std), _absent(parts, classes, names))


def _checked(images, labels):
  """Images with a channel, and a label for each."""
  images, labels = np.asarray(images), np.asarray(labels)
  if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
    raise errors.BadInput(
      'images must be uint8 [N, height, width, channels], not '
      f'{images.dtype} {list(images.shape)}: {_mended(images)}'
    )
  if images.ndim == 3:
    images = images[..., None]
  if mended := _turned(images.shape, labels.size):
    raise errors.BadInput(
      f'images {list(images.shape)} look as if their axes were not [N, height, '
      f'width, channels]: {mended} would mend that'
    )
  if labels.ndim == 2 and labels.shape[1] > 1:
    raise errors.BadInput(
      f'labels {list(labels.shape)} say several things of an image, which must '
      'be of one class: labels.argmax(1) mends rows with a single 1'
    )
  if labels.shape == (len(images), 1):
    labels = labels[:, 0]
  if labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu':
    mended = ''
    if labels.dtype.kind in 'USO' and labels.shape == images.shape[:1]:
      mended = ': np.unique(labels, return_inverse=True)[1] numbers names'
    if labels.dtype.kind in 'fb' and labels.shape == images.shape[:1]:
      mended = ': labels.astype(int) mends them if all are whole'
    raise errors.BadInput(
      f'labels must be integers [{len(images)}], one an image, not '
      f'{labels.dtype} {list(labels.shape)}{mended}'
    )
  return images, labels


def _classes(labels, named):
  """How many there are."""
  used = np.unique(labels)
  if len(used) < 2:
    raise errors.BadInput(
      f'all labels are {used[0]}: with one class there is nothing to learn'
    )
  if not named and not np.array_equal(used, np.arange(len(used))):
    raise errors.BadInput(
      f'the {len(used)} classes must be numbered from 0 on without gaps, but '
      f'labels lie in [{used[0]}, {used[-1]}]: number them anew, as '
      'np.unique(labels, return_inverse=True)[1] does'
    )
  if named and not 0 <= used[0] <= used[-1] < named:
    raise errors.BadInput(
      f'labels lie in [{used[0]}, {used[-1]}], but {named} classes are named: '
      'correct either'
    )
  return named or len(used)


def _fits(images, labels, shape, classes):
  """Refuses images to test on that are unlike those to train on."""
  if images.shape[1:] != shape:
    raise errors.BadInput(
      f'images are {list(images.shape[1:])}, but those to train on '
      f'{list(shape)}: resize them'
    )
  if labels.min() < 0 or labels.max() >= classes:
    raise errors.BadInput(
      f'labels lie in [{labels.min()}, {labels.max()}], but those to train on '
      f'in [0, {classes}): leave the others out'
    )


def _flat(std):
  """A sentence on channels that say nothing; '' if none."""
  flat = ', '.join(str(n) for n, x in enumerate(std) if x < PIXEL)
  told = f'channel {flat} of the images is (nearly) the same in all pixels'
  return f'{told}: leave it out' if flat else ''


def _absent(parts, classes, names):
  """A sentence on classes that are not tested; '' if all are, or none."""
  if 'test' not in parts:
    return ''
  counts = np.bincount(parts['test'][1], minlength=classes)
  absent = [str(names[n] if names else n) for n in np.flatnonzero(counts == 0)]
  told = f'the test images have none of {len(absent)} classes'
  return f'{told}: {", ".join(absent)}' if absent else ''


def moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Each channel's mean and deviation, pixels in [0, 1], to the last digit.

  From counts of the 256 values, for float32 sums over millions of pixels stop
  growing.
  """
  channels, value = images.shape[-1], np.arange(256)
  counts = np.zeros((channels, 256), np.int64)
  for block in np.array_split(images, -(-images.size // 2**24)):
    for n in range(channels):
      counts[n] += np.bincount(block[..., n].ravel(), minlength=256)
  mean, std = [], []
  for own in counts.astype(object):  # whole numbers of any size
    n, first, second = own.sum(), own @ value, own @ value**2
    mean.append(first / (255 * n))
    std.append(math.sqrt(n * second - first**2) / (255 * n))
  return tuple(mean), tuple(std)


def _mended(images):
  """What would make arrays of another type or rank images."""
  if not images.size:
    return 'there are none'
  if images.dtype.kind in 'iuf' and images.ndim in (3, 4):
    if images.dtype.kind == 'f' and 0 <= images.min() <= images.max() <= 1:
      return 'np.uint8(np.round(255 * images)) mends numbers in [0, 1]'
    if 0 <= images.min() <= images.max() <= 255:
      return 'np.uint8(np.round(images)) mends numbers in [0, 255]'
  return 'rescale or reshape them'


def _turned(shape, labels):
  """The transposition that makes images of a suspicious shape."""
  few = 1, 2, 3, 4  # channels
  if shape[0] != labels and shape[3] == labels:
    return 'images.transpose(3, 0, 1, 2)'
  if shape[1] in few and shape[3] not in few:
    return 'images.transpose(0, 2, 3, 1)'
  return ''

"""A user's own images, as arrays or in a file of them."""

import math

import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import npz
from sdnas_jax.data.dataset import Source

PIXEL = 1 / 255  # the least deviation of a channel


def read(file: str) -> Source:
  """A .npz file with `images` uint8 [N, H, W, C] and `labels` [N]."""
  names = 'images', 'labels'
  try:
    found = npz.read(file, names)
  except (OSError, ValueError) as error:
    raise errors.BadInput(
      f'cannot read images and labels from {file!r} ({error}); point '
      '--config.data.dir at a file written by np.savez(path, images=, labels=)'
    ) from error
  return from_arrays(*(found[name] for name in names))


def from_arrays(images: np.ndarray, labels: np.ndarray) -> Source:
  """A source of arrays in memory.

  Raises:
    BadInput: if images are not uint8 [N, height, width, channels], or labels
      not integers [N], counted from 0.
  """
  images, labels = np.asarray(images), np.asarray(labels)
  if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
    raise errors.BadInput(
      'images must be uint8 [N, height, width, channels], not '
      f'{images.dtype} {list(images.shape)}: {_mended(images, labels)}'
    )
  if mended := _turned(images.shape, labels.size):
    raise errors.BadInput(
      f'images {list(images.shape)} look as if their axes were not [N, height, '
      f'width, channels]: {mended} would mend that'
    )
  if labels.shape != images.shape[:1] or labels.dtype.kind not in 'iu':
    raise errors.BadInput(
      f'labels must be integers [{len(images)}], one an image, not '
      f'{labels.dtype} {list(labels.shape)}'
    )
  used = np.unique(labels)
  if len(used) < 2:
    raise errors.BadInput(
      f'all labels are {used[0]}: with one class there is nothing to learn'
    )
  if not np.array_equal(used, np.arange(len(used))):
    raise errors.BadInput(
      f'the {len(used)} classes must be numbered from 0 on without gaps, but '
      f'labels lie in [{used[0]}, {used[-1]}]: number them anew, as '
      'np.unique(labels, return_inverse=True)[1] does'
    )
  mean, std = moments(images)
  flat = [n for n, x in enumerate(std) if x < PIXEL]
  return Source(
    len(images),
    0,
    images.shape[1:],
    len(used),
    mean,
    tuple(max(x, PIXEL) for x in std),
    lambda part: (images, labels.astype(np.int32)),
    own=True,
    note=f'channel {", ".join(map(str, flat))} of the images is (nearly) the '
    'same in all pixels: leave it out'
    if flat
    else '',
  )


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


def _mended(images, labels):
  """What would make arrays of another type or rank images."""
  if images.ndim == 3 and images.dtype == np.uint8:
    return 'images[..., None] has a channel'
  if images.dtype.kind == 'f' and images.ndim == 4:
    return 'np.uint8(np.round(255 * images)) mends numbers in [0, 1]'
  return 'rescale or reshape them'


def _turned(shape, labels):
  """The transposition that makes images of a suspicious shape."""
  few = 1, 2, 3, 4  # channels
  if shape[0] != labels and shape[3] == labels:
    return 'images.transpose(3, 0, 1, 2)'
  if shape[1] in few and shape[3] not in few:
    return 'images.transpose(0, 2, 3, 1)'
  return ''

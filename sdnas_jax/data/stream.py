"""Images read while the device trains, for data too large to be held.

  >>> source = sources.find('imagenet2012', '')
  >>> span = stream.Span('train', 0, source.examples)
  >>> batches = stream.batches(source, span, 1024, key=(seed, epoch))
  >>> next(batches).image  # uint8 [1024 / hosts, 224, 224, 3], if it divides

A host reads, decodes and crops its own part of the data in threads, a few
batches ahead. Order and crops follow from the key alone, so that a resumed run
sees what it would have seen.
"""

from collections.abc import Iterator
import functools
from typing import NamedTuple

import jax
import numpy as np

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax import tf
from sdnas_jax.data import dataset
from sdnas_jax.data import split

SHUFFLED = 16_384  # encoded images to draw the next from: 2 GB of ImageNet
AHEAD = 2  # batches
DCT = 'INTEGER_ACCURATE'  # as Pillow decodes
TRIES = 10  # to place a random crop
AREA = 0.08, 1.0  # of the image, that a random crop takes
RATIO = 3 / 4, 4 / 3  # of its width to its height
MARGIN = 256 / 224  # at test, the shorter side to the crop's


class Span(NamedTuple):
  """Some of a part's images."""

  part: str  # 'train' or 'test'
  first: int
  last: int  # exclusive

  def of(self, host: int, hosts: int, size: int) -> 'Span':
    """One host's own, of batches of `size`: disjoint, its share of each."""
    full, rest = divmod(self.last - self.first, size)
    cuts = (
      self.first + full * _before(n, hosts, size) + _before(n, hosts, rest)
      for n in (host, host + 1)
    )
    return Span(self.part, *cuts)


def _before(host, hosts, rows):
  """How many of a batch's rows the hosts before this one have."""
  each, more = divmod(rows, hosts)
  return host * each + min(host, more)


def batches(
  source: dataset.Source,
  span: Span,
  size: int,
  skip: int = 0,
  key: tuple[int, int] | None = None,
) -> Iterator[split.Batch]:
  """This host's rows of an epoch's batches, each image once in all.

  Args:
    source: one that streams.
    span: all hosts' images.
    size: of a batch, all hosts together.
    skip: the number of batches that were seen. They are read again, but not
      decoded.
    key: seed and epoch, to shuffle by and to crop at random; without one the
      order stays and the centre is cropped.

  Raises:
    BadInput: if a label is not as declared, or an image cannot be read.
  """
  host, hosts = jax.process_index(), jax.process_count()
  own, whole = span.of(host, hosts, size), _rows(size)
  rows = _before(host + 1, hosts, size) - _before(host, hosts, size)
  steps = split.batches(span.last - span.first, size)
  for image, label, index in _read(source, own, rows, skip, key):
    if label.min() < 0 or label.max() >= source.classes:
      raise errors.BadInput(
        f'labels must lie in [0, {source.classes}), but one batch spans '
        f'[{label.min()}, {label.max()}]: correct the class count'
      )
    skip += 1
    yield _filled(image, label, index, whole)
  empty = np.zeros((0, *source.shape), np.uint8), *np.zeros((2, 0), np.int32)
  for _ in range(skip, steps):  # another host may have an image more
    yield _filled(*empty, whole)


def _read(source, span, rows, skip, key):
  """Images, labels and numbers of one host's batches."""
  if span.first == span.last:
    return  # more hosts than images
  tensor = tf.prepare()
  data = _encoded(source, span, key).skip(skip * rows)
  data = _decoded(data, source.shape[0]).batch(rows).prefetch(AHEAD)
  try:
    yield from data.as_numpy_iterator()
  except tensor.errors.OpError as error:
    reason = str(error.message).splitlines()[0][:80]
    raise errors.BadInput(
      f'an image to {span.part} cannot be read ({reason}): streams take JPEGs; '
      'prepare the data set anew by TFDS'
    ) from error


def like(source: dataset.Source, size: int) -> split.Batch:
  """The shapes of a batch, all hosts together, spread over the devices."""
  shape = functools.partial(jax.ShapeDtypeStruct, sharding=parallel.divided())
  rows = _rows(size) * jax.process_count()
  image = shape((rows, *source.shape), np.uint8)
  number, present = shape((rows,), np.int32), shape((rows,), bool)
  return split.Batch(image, number, number, present)


def _rows(size):
  """Of a host's part of a batch, as its devices can share them."""
  rows, devices = -(-size // jax.process_count()), jax.local_device_count()
  return -(-rows // devices) * devices


def _filled(image, label, index, rows):
  """A batch of so many rows, the last of them padding."""
  more = rows - len(label)
  pad = [(0, more)]
  return split.Batch(
    np.pad(image, pad + [(0, 0)] * 3) if more else image,
    np.pad(label, pad),
    np.pad(index, pad),
    np.arange(rows) < len(label),
  )


def _encoded(source, span, key):
  """The images to come, each with its number and a seed to crop it by."""
  tensor = tf.prepare()
  if key is None:
    data = source.stream(*span, None).enumerate()
    return data.map(lambda n, row: (n, row, tensor.zeros([2], 'int32'), False))
  numbers = np.random.SeedSequence([*key, span.first]).generate_state(4)
  files, order, *crop = (numbers // 2).astype(np.int32).tolist()
  data = source.stream(*span, files)
  data = data.shuffle(SHUFFLED, order, reshuffle_each_iteration=False)
  fold = tensor.random.experimental.stateless_fold_in
  return data.enumerate().map(
    lambda n, row: (n, row, fold(crop, tensor.cast(n, 'int32')), True)
  )


def _decoded(data, side):
  tensor = tf.prepare()

  def decode(n, row, seed, random):
    image = tensor.cond(
      random,
      lambda: random_crop(row['image'], seed, side),
      lambda: centre_crop(row['image'], side),
    )
    image.set_shape([side, side, 3])
    n, label = (tensor.cast(x, 'int32') for x in (n, row['label']))
    return image, label, n

  return data.map(decode, num_parallel_calls=tensor.data.AUTOTUNE)


def random_crop(jpeg, seed, side: int):
  """A random box of a JPEG, scaled to [side, side, 3] uint8."""
  tensor = tf.prepare()
  height, width, _ = tensor.unstack(tensor.io.extract_jpeg_shape(jpeg))
  box = random_box(height, width, seed)
  image = tensor.io.decode_and_crop_jpeg(jpeg, box, channels=3, dct_method=DCT)
  return _resized(image, [side, side])


def random_box(height, width, seed):
  """Top, left, height and width, drawn as torchvision's RandomResizedCrop.

  Area and the ratio's logarithm are uniform. What never fits becomes the
  largest box of an allowed ratio in the centre.
  """
  tensor = tf.prepare()
  size = tensor.cast(tensor.stack([height, width]), 'float32')
  draws = tensor.random.stateless_uniform([TRIES, 4], seed)
  area = size[0] * size[1] * (AREA[0] + (AREA[1] - AREA[0]) * draws[:, 0])
  low, high = np.log(np.float32(RATIO))
  ratio = tensor.exp(low + (high - low) * draws[:, 1])
  sides = tensor.sqrt(tensor.stack([area / ratio, area * ratio], axis=1))
  sides = tensor.round(sides)
  fits = tensor.reduce_all((sides >= 1) & (sides <= size), axis=1)
  n = tensor.argmax(tensor.cast(fits, 'int32'))
  corner = tensor.floor(draws[n, 2:] * (size - sides[n] + 1))
  largest = tensor.round(
    tensor.minimum(size, size[::-1] * [1 / RATIO[0], RATIO[1]])
  )
  box = tensor.where(
    fits[n],
    tensor.concat([corner, sides[n]], axis=0),
    tensor.concat([(size - largest) // 2, largest], axis=0),
  )
  return tensor.cast(box, 'int32')


def centre_crop(jpeg, side: int):
  """The centre of a JPEG whose shorter side is scaled to 8/7 of `side`."""
  tensor = tf.prepare()
  image = tensor.io.decode_jpeg(jpeg, channels=3, dct_method=DCT)
  size = tensor.cast(tensor.shape(image)[:2], 'float32')
  scale = MARGIN * side / tensor.reduce_min(size)
  # Torchvision cuts the longer side to a whole number; 1e-3 is for rounding.
  size = tensor.cast(tensor.floor(size * scale + 1e-3), 'int32')
  image = _resized(image, size)
  corner = tensor.round((size - side) / 2)
  top, left = tensor.unstack(tensor.cast(corner, 'int32'))
  return image[top : top + side, left : left + side]


def _resized(image, size):
  """Bilinear, smoothed where it shrinks, as in Pillow."""
  tensor = tf.prepare()
  image = tensor.image.resize(image, size, 'bilinear', antialias=True)
  return tensor.cast(tensor.clip_by_value(tensor.round(image), 0, 255), 'uint8')

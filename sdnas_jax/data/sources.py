"""Where images come from. A user's own data set is one entry of `SOURCES`.

  >>> source = sources.find('digits', '')
  >>> images, labels = source.load('train')  # uint8 [N, H, W, C], int32 [N]

or, without touching the code, a file written by
`np.savez('mine.npz', images=..., labels=...)`, given as
`--config.data.name=arrays --config.data.dir=mine.npz`.
"""

from collections.abc import Callable
from collections.abc import Mapping
import contextlib
import functools
import hashlib
import math
import os
import socket
from typing import Any
from typing import NamedTuple
import urllib.request

import numpy as np

from sdnas_jax import errors
from sdnas_jax import tf
from sdnas_jax.data import npz
from sdnas_jax.data import split

CIFAR_HOST = 'www.cs.toronto.edu'
IMAGENET_HOST = 'www.image-net.org'
PIXEL = 1 / 255  # the least deviation of a channel


class Source(NamedTuple):
  """A data set: what is known before loading, and how to."""

  examples: int  # for training
  tests: int  # of the data set's own test split; 0: it has none
  shape: tuple[int, int, int]  # height, width, channels
  classes: int
  mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
  std: tuple[float, ...]
  # 'train' or 'test' -> its images, uint8 [N, *shape], and labels [N].
  load: Callable[[str], tuple[np.ndarray, np.ndarray]] | None
  # Instead, where they are too many to hold: part, first, last, seed to shuffle
  # files by, if any -> a tf.data.Dataset of {'image': JPEG, 'label': integer}.
  stream: Callable[[str, int, int, int | None], Any] | None = None
  own: bool = False  # a user's, of any order: not a benchmark
  note: str = ''  # what its user should know


def cifar(name: str, classes: int, mean, std, folder: str) -> Source:
  """CIFAR-10 or CIFAR-100 through TFDS, in the order of the original files."""
  load = functools.partial(_load_tfds, name, folder)
  return Source(50_000, 10_000, (32, 32, 3), classes, mean, std, load)


def imagenet(
  name: str, classes: int, examples: int, tests: int, folder: str
) -> Source:
  """ImageNet, or a TFDS data set of JPEGs like it, as crops of 224 pixels."""
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  read = functools.partial(_stream_tfds, name, folder)
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
    _load_first, classes, {'train': examples, 'test': tests}, folder
  )
  return Source(examples, tests, (16, 16, 3), classes, mean, std, load)


@contextlib.contextmanager
def _builder(name, folder, host=None):
  """A TFDS builder whose data are there; errors become sentences."""
  tf.prepare()
  import tensorflow_datasets as tfds

  try:
    if not (folder or os.environ.get('TFDS_DATA_DIR') or _home()):
      raise OSError('no home folder is known')
    builder = tfds.builder(name, data_dir=folder or None)
    missing = not builder.data_path.exists()
    older = _versions(builder.data_path.parent) if missing else []
    if older:
      builder, missing = tfds.builder_from_directory(older[-1]), False
    if host and missing and not urllib.request.getproxies():
      # Without a network TFDS tries for minutes; this fails at once.
      socket.create_connection((host, 443), timeout=10).close()
    builder.download_and_prepare()
    yield builder
  except errors.BadInput:
    raise
  except Exception as error:
    where = folder or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
    reason = str(error).strip().splitlines()[0][:80] if str(error) else ''
    raise errors.BadInput(
      f'{name} is neither in {where} nor can it be downloaded '
      f'({type(error).__name__}: {reason}); point --config.data.dir or '
      f'TFDS_DATA_DIR at a folder that holds {name}/ prepared by TFDS'
    ) from error


def _home():
  return os.path.expanduser('~') != '~'


def _versions(folder):
  """The folders of a data set's prepared versions, the latest last."""
  found = [path for path in folder.glob('*.*.*') if path.is_dir()]
  found = [path for path in found if path.name.replace('.', '').isdigit()]
  return sorted(found, key=lambda path: [*map(int, path.name.split('.'))])


def _load_tfds(name, folder, part):
  with _builder(name, folder, CIFAR_HOST) as builder:
    table = builder.as_dataset(split=part, batch_size=-1)
  table = {key: value.numpy() for key, value in table.items()}
  order = np.argsort(table['id'])
  return table['image'][order], table['label'][order].astype(np.int32)


def _load_first(classes, counts, folder, part):
  import tensorflow_datasets as tfds

  name, count = 'imagenet_resized/16x16', counts[part]
  with _builder(name, folder, IMAGENET_HOST) as builder:
    table = builder.as_dataset(
      split={'test': 'validation'}.get(part, part),
      decoders={'image': tfds.decode.SkipDecoding()},
      # One file after the other, so that the order is the same for any number.
      read_config=tfds.ReadConfig(
        interleave_cycle_length=1, try_autocache=False
      ),
    )
    decode = builder.info.features['image'].decode_example
    table = table.filter(lambda row: row['label'] < classes)
    table = table.map(lambda row: {**row, 'image': decode(row['image'])})
    batches = list(table.batch(count).as_numpy_iterator())
    found = sum(len(batch['label']) for batch in batches)
    if found != count:
      raise errors.BadInput(
        f"{name}'s part {part!r} has {found} images of the first {classes} "
        f'classes, not {count}, in {builder.data_path}: prepare it anew by TFDS'
      )
  return batches[0]['image'], batches[0]['label'].astype(np.int32)


def _stream_tfds(name, folder, part, first, last, seed):
  import tensorflow_datasets as tfds

  part = {'test': 'validation'}.get(part, part)
  with _builder(name, folder) as builder:
    there = builder.info.splits
    count = there[part].num_examples if part in there else 0
    if there and count < last:  # TFDS's mock data know no parts
      raise errors.BadInput(
        f"{name}'s part {part!r} has {count} images, not {last}, in "
        f'{builder.data_path}: prepare it anew by TFDS'
      )
    return builder.as_dataset(
      split=f'{part}[{first}:{last}]',
      shuffle_files=seed is not None,
      decoders={'image': tfds.decode.SkipDecoding()},
      read_config=tfds.ReadConfig(shuffle_seed=seed, try_autocache=False),
    )


def digits(folder: str) -> Source:
  """The 1,797 handwritten 8x8 digits that come with scikit-learn."""
  del folder

  def load(part):
    del part
    from sklearn.datasets import load_digits

    table = load_digits()
    images = np.round(table.images * (255 / 16)).astype(np.uint8)
    return images[..., None], table.target.astype(np.int32)

  return Source(1797, 0, (8, 8, 1), 10, (0.3053,), (0.3759,), load)


def arrays(folder: str) -> Source:
  """A .npz file with `images` uint8 [N, H, W, C] and `labels` [N]."""
  names = 'images', 'labels'
  try:
    found = npz.read(folder, names)
  except (OSError, ValueError) as error:
    raise errors.BadInput(
      f'cannot read images and labels from {folder!r} ({error}); point '
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


ORDERS = 'auto', 'file', 'classes'
# The constants of DARTS's code for CIFAR-10.
SOURCES: dict[str, Callable[[str], Source]] = {
  'arrays': arrays,
  'cifar10': functools.partial(
    cifar,
    'cifar10',
    10,
    (0.49139968, 0.48215827, 0.44653124),
    (0.24703233, 0.24348505, 0.26158768),
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


def told(source: Source, *parts: tuple[np.ndarray, np.ndarray]) -> dict:
  """What a run records of its data, by which they are known again.

  `parts` are the images and labels that it sees, in its order.
  """
  fields = 'shape', 'classes', 'mean', 'std', 'examples', 'tests'
  seen = hashlib.blake2b(digest_size=8)
  for x in (x for part in parts for x in part):
    seen.update(f'{x.dtype}{x.shape}'.encode())
    seen.update(np.ascontiguousarray(x))
  found = {name: getattr(source, name) for name in fields}
  return found | {'digest': seen.hexdigest() if parts else ''}


def recalled(fields: Mapping[str, Any]) -> Source:
  """The source of such a record, of which no image can be loaded."""
  known = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
  known.pop('digest')
  return Source(**known, load=None)


def find(name: str, folder: str) -> Source:
  """The source of that name; `folder` is where it looks, '' its default."""
  errors.pick('data set', name, SOURCES)
  return SOURCES[name](folder)


def load(
  source: Source,
  examples: int,
  part: str = 'train',
  order: str = 'auto',
  seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Loads a part's first `examples`, and checks what the source delivers.

  Args:
    order: one of ORDERS: 'file', as they come; 'classes', shuffled by the seed
      so that every beginning has its share of every class; 'auto', that for a
      user's own data, and for benchmarks the first.

  Raises:
    BadInput: if the images' shape or type, or a label, is not as declared.
  """
  images, labels = source.load(part)
  index = slice(None)
  if order == 'classes' or (order == 'auto' and source.own):
    index = split.stratified(labels, seed)
  images, labels = images[index][:examples], labels[index][:examples]
  if images.dtype != np.uint8 or images.shape != (examples, *source.shape):
    raise errors.BadInput(
      f'the images are {images.dtype} {list(images.shape)}, but uint8 '
      f'{[examples, *source.shape]} was declared: correct the source'
    )
  if labels.shape != (examples,) or labels.dtype.kind not in 'iu':
    raise errors.BadInput(
      f'labels must be integers [{examples}], not {labels.dtype} '
      f'{list(labels.shape)}'
    )
  if labels.min() < 0 or labels.max() >= source.classes:
    raise errors.BadInput(
      f'labels must lie in [0, {source.classes}), but they span '
      f'[{labels.min()}, {labels.max()}]: correct them or the class count'
    )
  return images, labels

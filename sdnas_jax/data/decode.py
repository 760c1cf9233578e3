"""Encoded pictures, of any size and mode, as one array.

  >>> files = [('a.png', functools.partial(open, 'a.png', 'rb'))]
  >>> images, note = decode.every(files)  # uint8 [1, height, width, channels]

By Pillow: TensorFlow's decoders take no palettes, CMYK, WebP or TIFF, and leave
a photograph lying as the camera was held.
"""

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import functools
from typing import Any
from typing import BinaryIO
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps

from sdnas_jax import errors
from sdnas_jax import progress

# Names to call them by, and what opens each anew.
Files = Sequence[tuple[str, Callable[[], BinaryIO]]]

# No others, of which some start programs, such as PostScript's.
FORMATS = 'JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'PPM'
GREY = '1', 'L', 'LA', 'I', 'I;16', 'I;16B', 'I;16L', 'I;16N'
LARGEST = 32  # the side of CIFAR's images, which the networks here are for
NAMED = 3  # files in a sentence


class Head(NamedTuple):
  """What a file says before it is decoded."""

  size: tuple[int, int]  # width, height
  grey: bool


def every(files: Files, size: int = 0) -> tuple[np.ndarray, str]:
  """Decodes all files, and resizes them to one size.

  Of a picture of another shape the largest square (or rectangle) about its
  centre is taken. One channel is left if all files are greyscale by their mode,
  else three. Transparent pixels lie on white, 16 bits are rounded to 8, EXIF's
  turns are made, and of a film the first frame is taken.

  Args:
    files: at least one.
    size: the side of the squares. With 0 pictures that are all of one size up
      to LARGEST keep it; others get the median of their shorter sides, in steps
      of 4, since networks halve it twice, up to LARGEST.

  Returns:
    uint8 [N, height, width, channels], and what was resized in a sentence.

  Raises:
    BadInput: names the files that cannot be read.
  """
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of metadata that are not looked at
    heads = _each(_head, files)
    sizes = [head.size for head in heads]
    target, grey = _target(sizes, size), all(head.grey for head in heads)
    read = functools.partial(_decoded, target=target, grey=grey)
    images = np.stack(_each(read, files))
  return images[..., None] if grey else images, _told(sizes, target)


def _each(read, files):
  """What each file is read as, some at a time."""

  def attempt(file):
    try:
      with file[1]() as content:
        with Image.open(content, formats=FORMATS) as image:
          return read(image)
    except Exception as error:  # of many types, by where the damage is
      return error

  found: list[Any] = []
  with (
    progress.bar(len(files), 'picture', delay=1.0) as bar,
    futures.ThreadPoolExecutor() as pool,
  ):
    for one in pool.map(attempt, files):
      found.append(one)
      bar.update()
  bad = [
    f'{name} ({errors.told(error)})'
    for (name, _), error in zip(files, found, strict=True)
    if isinstance(error, Exception)
  ]
  if bad:
    more = ', ...' if len(bad) > NAMED else ''
    raise errors.BadInput(
      f'{len(bad)} of {len(files)} pictures cannot be read: mend or remove '
      f'{", ".join(bad[:NAMED])}{more}'
    )
  return found


def _head(image):
  return Head(image.size, image.mode in GREY)


def _target(sizes: Sequence[tuple[int, int]], size: int) -> tuple[int, int]:
  """The width and height of all."""
  if size:
    return size, size
  if len({*sizes}) == 1 and max(sizes[0]) <= LARGEST:
    return sizes[0]
  median = float(np.median([min(pair) for pair in sizes]))
  side = min(max(4 * round(median / 4), 4), LARGEST)
  return side, side


def _told(sizes, target):
  """What was resized, in a sentence; '' if nothing was."""
  if {*sizes} == {target}:
    return ''
  ends = min(sizes, key=np.prod), max(sizes, key=np.prod)
  spans = ' to '.join(f'{w} x {h}' for w, h in dict.fromkeys(ends))
  return (
    f'the pictures, of {spans} pixels, are cut and resized about their centres '
    f'to {target[0]} x {target[1]}: --config.data.size sets another side'
  )


def _decoded(image, target, grey):
  """A picture, turned and resized, as an array."""
  # A large JPEG is decoded at a part of its size, in a part of the time.
  image.draft(None, tuple(2 * side for side in target))
  image = _opaque(ImageOps.exif_transpose(image))
  image = image.convert('L' if grey else 'RGB')
  if image.size != target:
    image = ImageOps.fit(image, target, Image.Resampling.BICUBIC)
  return np.asarray(image)


def _opaque(image):
  """The picture in 8 bits, on white."""
  if image.mode.startswith('I'):  # I: 16 bits of some formats
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
      raise ValueError('it has more than 16 bits')
    return Image.fromarray(np.uint8(np.round(values / 257)))
  if image.mode == 'F':
    raise ValueError('floating point numbers of no known range')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(white, image)
  return image

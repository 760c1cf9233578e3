"""The two halves of bilevel search, on the device, and batches of them.

The first half of the training images, in their order, trains the weights, the
rest the alphas (DARTS). A batch is an array of indices into a half; an index
equal to the half's length only pads the batch.
"""

from collections.abc import Sequence
import functools
import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax import parallel
from sdnas_jax.data import augment


class Split(NamedTuple):
  """A half of the data: resident on the device, or its shapes alone."""

  images: jax.Array  # uint8 [N, H, W, C]
  labels: jax.Array  # int32 [N]


class Batch(NamedTuple):
  """Images, as they lie in memory or ready for the network."""

  image: jax.Array  # [B, H, W, C], uint8 or float32
  label: jax.Array  # int32 [B]
  index: jax.Array  # int32 [B], in the half; in its host's order of a stream
  present: jax.Array  # bool [B], false for padding
  again: jax.Array | None = None  # another augmentation of the image


def like(examples: int, shape: Sequence[int]) -> Split:
  """The shapes of a half of images [height, width, channels]."""
  place = parallel.everywhere()
  array = functools.partial(jax.ShapeDtypeStruct, sharding=place)
  images = array((examples, *shape), np.uint8)
  return Split(images, array((examples,), np.int32))


def stratified(labels: np.ndarray, seed: int) -> np.ndarray:
  """An order of which every beginning has its share of every class.

  A class's n examples, shuffled, stand at 1/2n, 3/2n, ... of the way. So a
  beginning is off by one example at most if all classes are as large, and by
  (1 + k) / 2 in a class that is k times as large as their mean.
  """
  rng = np.random.default_rng((seed, 4))
  shuffled = rng.permutation(len(labels))  # among equals too
  own, place = labels[shuffled], np.empty(len(labels))
  for label in np.unique(own):
    members = np.flatnonzero(own == label)
    place[members] = (np.arange(len(members)) + 0.5) / len(members)
  return shuffled[np.argsort(place, kind='stable')]


def lacking(part: str, labels: np.ndarray, classes: int) -> str:
  """A sentence on the classes that a part of the data lacks; '' if none."""
  absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
  if not len(absent):
    return ''
  named = ', '.join(map(str, absent[:5])) + ', ...' * (len(absent) > 5)
  return textwrap.fill(
    f'the {part} images lack {len(absent)} of {classes} classes ({named}): '
    'their order in the file may be by class; see --config.data.order',
    width=79,
  )


def batches(examples: int, batch_size: int) -> int:
  """How many batches visit every example once, the last filled by padding."""
  return -(-examples // batch_size)


def order(key: jax.Array, half: Split, batch_size: int) -> jax.Array:
  """An epoch's batches [steps, batch_size]: each example once, shuffled."""
  examples = len(half.labels)
  return blocks(jax.random.permutation(key, examples), examples, batch_size)


def blocks(index: jax.Array, examples: int, batch_size: int) -> jax.Array:
  """Cuts [n] indices into batches, padded with `examples`."""
  steps = batches(len(index), batch_size)
  index = jnp.pad(
    index, (0, steps * batch_size - len(index)), constant_values=examples
  )
  return index.reshape(steps, batch_size)


def sample(key: jax.Array, half: Split, batch_size: int) -> jax.Array:
  """One batch drawn without replacement, independent of all others."""
  return jax.random.permutation(key, len(half.labels))[:batch_size]


def gather(half: Split, index: jax.Array) -> Batch:
  """A batch as it lies in memory, split over the devices.

  It is padded to a number of rows that they can share.
  """
  more = -len(index) % parallel.mesh().size
  index = jnp.pad(index, (0, more), constant_values=len(half.labels))
  index = parallel.split(index)
  image = half.images.at[index].get(mode='clip')
  label = half.labels.at[index].get(mode='clip')
  return Batch(image, label, index, index < len(half.labels))


def take(
  half: Split,
  index: jax.Array,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  how: augment.Augment | None = None,
  key: jax.Array | None = None,
) -> Batch:
  """A batch ready for the network, augmented if `how` is given."""
  batch = gather(half, index)
  ready = augment.prepare(batch.image, mean, std, how, key)
  return batch._replace(image=ready)

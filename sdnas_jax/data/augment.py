"""Augmentation on the device: uint8 images in, normalised batches out."""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np


class Augment(NamedTuple):
  """How a training image is varied; zeros and False turn a part off."""

  pad: int = 4  # pixels of black margin to crop from at random
  flip: bool = True  # left to right, half of the time
  cutout: int = 0  # side of the square that is blanked, clipped at the border
  jitter: float = 0.0  # brightness, contrast, saturation: factors 1 -+ jitter
  hue: float = 0.0  # turns of the colour circle, at most


GREY = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R 601-2, as Pillow


def prepare(
  images: jax.Array,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  how: Augment | None = None,
  key: jax.Array | None = None,
) -> jax.Array:
  """From uint8 [batch, height, width, channels] to what a network takes."""
  if how is None:
    return normalize(images, mean, std)
  vary_key, cut_key = jax.random.split(key)
  images = vary(vary_key, images, how)
  if how.jitter or how.hue:
    images = jitter(jax.random.fold_in(key, 2), images, how)
  images = normalize(images, mean, std)
  return cutout(cut_key, images, how.cutout) if how.cutout else images


def normalize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
  """From pixels in [0, 255] to float32 of zero mean and unit variance."""
  scale, shift = 1 / (255 * np.asarray(std)), np.asarray(mean) / np.asarray(std)
  channels = (1, 1, 1, -1)
  scale, shift = (
    x.reshape(channels).astype(np.float32) for x in (scale, shift)
  )
  return images.astype(jnp.float32) * scale - shift


def vary(key: jax.Array, images: jax.Array, how: Augment) -> jax.Array:
  """Crops and flips uint8 [batch, height, width, channels] images."""
  crop, flip = jax.random.split(key)
  batch, height, width, channels = images.shape
  if how.pad:
    margin = (how.pad, how.pad)
    padded = jnp.pad(images, ((0, 0), margin, margin, (0, 0)))
    corner = jax.random.randint(crop, (batch, 2), 0, 2 * how.pad + 1)
    images = jax.vmap(
      lambda image, at: lax.dynamic_slice(
        image, (at[0], at[1], 0), (height, width, channels)
      )
    )(padded, corner)
  if how.flip:
    mirror = jax.random.bernoulli(flip, shape=(batch, 1, 1, 1))
    images = jnp.where(mirror, images[:, :, ::-1], images)
  return images


def jitter(key: jax.Array, images: jax.Array, how: Augment) -> jax.Array:
  """Varies the colours of [batch, height, width, 3], to float32 in [0, 255].

  Four changes in an order that is drawn for each image, as in torchvision's
  ColorJitter, whose rounding to whole numbers in between is left out.
  """
  low, high = max(0.0, 1 - how.jitter), 1 + how.jitter

  def one(key, image):
    order, factor, turn = jax.random.split(key, 3)
    uniform = functools.partial(jax.random.uniform, dtype=jnp.float32)
    factors = uniform(factor, (3,), minval=low, maxval=high)
    turn = uniform(turn, minval=-how.hue, maxval=how.hue)
    order = jax.random.permutation(order, 4)
    hue = jnp.argmax(order == 3)  # its place in the order
    # A switch would make all four changes in each place, under vmap; this
    # turns the hue once, between blends of which half are by a factor of 1.
    for n in range(3):
      image = blend(image, order[n], jnp.where(n < hue, factors[order[n]], 1))
    image = jnp.clip(rotate(image, turn), 0, 255)
    for n in range(1, 4):
      image = blend(image, order[n], jnp.where(n > hue, factors[order[n]], 1))
    return image

  keys = jax.random.split(key, len(images))
  return jax.vmap(one)(keys, images.astype(jnp.float32))


def blend(image: jax.Array, kind: jax.Array, factor: jax.Array) -> jax.Array:
  """Changes the brightness, the contrast or the saturation of [..., 3].

  By kind, 0, 1 or 2: towards black, the mean luma or each pixel's own.
  """
  luma = grey(image)
  mean = jnp.full_like(luma, luma.mean())
  base = jnp.select([kind == 0, kind == 1], [jnp.zeros_like(luma), mean], luma)
  return jnp.clip(factor * image + (1 - factor) * base, 0, 255)


def grey(image: jax.Array) -> jax.Array:
  """The luma of [..., 3], as [..., 1]."""
  return sum(share * image[..., n, None] for n, share in enumerate(GREY))


def rotate(image: jax.Array, turn: jax.Array) -> jax.Array:
  """Moves the hue of [..., 3] by a part of a turn, in HSV."""
  red, green, blue = jnp.moveaxis(image, -1, 0)
  value, least = image.max(-1), image.min(-1)
  chroma = value - least
  safe = jnp.where(chroma, chroma, 1)
  # Which is largest is asked of the colours themselves: XLA may compute them
  # again for `value`, and round another way.
  sixths = jnp.select(
    [(red >= green) & (red >= blue), green >= blue],
    [(green - blue) / safe, (blue - red) / safe + 2],
    (red - green) / safe + 4,
  )

  def channel(n):
    k = (n + sixths + 6 * turn) % 6
    return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

  return jnp.stack([channel(n) for n in (5, 3, 1)], axis=-1)


def cutout(key: jax.Array, images: jax.Array, side: int) -> jax.Array:
  """Blanks a square around a uniform pixel (DeVries and Taylor 2017).

  Applied after normalisation, as DARTS does: the square is the mean's colour.
  """
  batch, height, width, _ = images.shape
  row, column = jax.random.split(key)

  def inside(key, size):
    centre = jax.random.randint(key, (batch, 1), 0, size)
    start = centre - side // 2
    pixel = jnp.arange(size)[None]
    return (pixel >= start) & (pixel < start + side)

  hole = inside(row, height)[:, :, None] & inside(column, width)[:, None, :]
  return jnp.where(hole[..., None], 0.0, images)

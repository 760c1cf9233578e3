"""Augmentation on the device: uint8 images in, normalised batches out."""

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


def normalize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
  """From uint8 pixels to float32 channels of zero mean and unit variance."""
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

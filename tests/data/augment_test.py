"""Augmentation against slices made by hand, Pillow and Matplotlib."""

import functools

import jax
from jax import extend as jex
from matplotlib import colors
import numpy as np
from PIL import Image
from PIL import ImageEnhance

from sdnas_jax.data import augment

ENHANCERS = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color


def images(n=64, size=6):
  rng = np.random.default_rng(0)
  return rng.integers(1, 256, (n, size, size, 2), np.uint8)


def test_every_image_is_a_crop_of_its_padding_flipped_or_not():
  given = images()
  how = augment.Augment(pad=2, flip=True)
  out = np.asarray(augment.vary(jax.random.key(0), given, how))
  seen = set()
  for before, after in zip(given, out, strict=True):
    padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
    matches = [
      (i, j, flip)
      for i in range(5)
      for j in range(5)
      for flip in (1, -1)
      if np.array_equal(padded[i : i + 6, j : j + 6][:, ::flip], after)
    ]
    assert len(matches) == 1
    seen.add(matches[0])
  assert len(seen) > 20  # of 50 ways
  assert {i for i, _, _ in seen} == set(range(5))
  assert {flip for _, _, flip in seen} == {1, -1}


def test_nothing_is_varied_when_all_is_off():
  given = images()
  how = augment.Augment(pad=0, flip=False)
  out = augment.vary(jax.random.key(0), given, how)
  np.testing.assert_array_equal(out, given)


def test_normalize():
  given = images()
  out = augment.normalize(given, (0.5, 0.25), (0.1, 0.2))
  expected = (given / 255 - [0.5, 0.25]) / [0.1, 0.2]
  np.testing.assert_allclose(out, expected, atol=1e-5)


def test_cutout_blanks_one_square_clipped_at_the_border():
  given = np.ones((200, 6, 6, 2), np.float32)
  out = np.asarray(augment.cutout(jax.random.key(0), given, 4))
  sizes = set()
  for image in out:
    rows, columns = np.nonzero(image[..., 0] == 0)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width  # a full rectangle
    assert 2 <= height <= 4 and 2 <= width <= 4
    sizes.add((height, width))
  assert (4, 4) in sizes and (2, 2) in sizes


def test_jitter_is_pillow_s_enhancement():
  how = augment.Augment(jitter=0.4, hue=0.0)
  given = np.random.default_rng(0).integers(0, 256, (8, 5, 6, 3), np.uint8)
  key = jax.random.key(1)
  out = np.asarray(augment.jitter(key, given, how))
  orders = set()
  for own, before, after in zip(
    jax.random.split(key, 8), given, out, strict=True
  ):
    order, factor, _ = jax.random.split(own, 3)
    order = tuple(jax.random.permutation(order, 4).tolist())
    factors = jax.random.uniform(factor, (3,), minval=0.6, maxval=1.4).tolist()
    image = Image.fromarray(before)
    for n in order:
      if n < 3:  # the hue stays
        image = ENHANCERS[n](image).enhance(factors[n])
    # Pillow rounds after each of three changes, the next may double that.
    assert np.abs(after - np.asarray(image, float)).max() < 4
    orders.add(order)
  assert len(orders) > 4


def jittered(key, image, how):
  """One change after the other, by NumPy and Matplotlib."""
  order, factor, turn = jax.random.split(key, 3)
  low, high = 1 - how.jitter, 1 + how.jitter
  factors = jax.random.uniform(factor, (3,), minval=low, maxval=high).tolist()
  turn = float(jax.random.uniform(turn, minval=-how.hue, maxval=how.hue))
  image = image.astype(float)
  for n in jax.random.permutation(order, 4).tolist():
    luma = image @ augment.GREY
    if n == 3:
      hsv = colors.rgb_to_hsv(image / 255)
      hsv[..., 0] = (hsv[..., 0] + turn) % 1
      image = 255 * colors.hsv_to_rgb(hsv)
    else:
      base = (0, luma.mean(), luma[..., None])[n]
      image = factors[n] * image + (1 - factors[n]) * base
    image = np.clip(image, 0, 255)
  return image


def test_all_of_jitter_in_every_image_s_own_order():
  how = augment.Augment(jitter=0.4, hue=0.2)
  given = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)
  key = jax.random.key(0)
  out = jax.jit(functools.partial(augment.jitter, how=how))(key, given)
  pairs = zip(jax.random.split(key, len(given)), given, strict=True)
  expected = [jittered(*pair, how) for pair in pairs]
  np.testing.assert_allclose(out, expected, atol=5e-3)


def remainders(jaxpr):
  """How many there are, which the hue alone takes."""
  inner = [jex.core.jaxprs_in_params(eqn.params) for eqn in jaxpr.eqns]
  own = sum(eqn.primitive.name == 'rem' for eqn in jaxpr.eqns)
  return own + sum(remainders(one) for some in inner for one in some)


def test_jitter_turns_the_hue_once():
  """And not in each of four places, for each of four changes."""
  how = augment.Augment(jitter=0.4, hue=0.2)
  image, key = np.zeros((4, 4, 3), np.uint8), jax.random.key(0)
  jitter = functools.partial(augment.jitter, how=how)
  once = jax.make_jaxpr(augment.rotate)(image.astype(np.float32), 0.1)
  jaxpr = jax.make_jaxpr(jitter)(key, image[None])
  assert remainders(jaxpr.jaxpr) == remainders(once.jaxpr) == 3


def test_rotate_turns_the_hue_as_matplotlib_sees_it():
  rng = np.random.default_rng(0)
  given = rng.uniform(0, 255, (40, 3)).astype(np.float32)
  given[:4] = [[9, 9, 9], [0, 0, 0], [255, 0, 0], [7, 200, 200]]
  for turn in (-0.2, 0.0, 0.15):
    hsv = colors.rgb_to_hsv(given / 255)
    hsv[:, 0] = (hsv[:, 0] + turn) % 1
    expected = 255 * colors.hsv_to_rgb(hsv)
    found = augment.rotate(given, turn)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_hue_turns_by_one_angle_an_image_within_its_limit():
  how = augment.Augment(jitter=0.0, hue=0.2)
  red = np.zeros((200, 2, 2, 3), np.uint8)
  red[..., 0] = 200
  out = np.asarray(augment.jitter(jax.random.key(0), red, how))
  hue = colors.rgb_to_hsv(out / 255)[..., 0]
  turn = (hue + 0.5) % 1 - 0.5
  np.testing.assert_allclose(turn, turn[:, :1, :1] + 0 * turn, atol=1e-5)
  assert -0.2 <= turn.min() < -0.19 and 0.19 < turn.max() <= 0.2


def test_prepare_varies_then_normalises_then_cuts():
  given = np.full((40, 6, 6, 3), 100, np.uint8)
  how = augment.Augment(pad=0, flip=True, cutout=2, jitter=0.4)
  out = augment.prepare(given, (0.2,) * 3, (0.5,) * 3, how, jax.random.key(0))
  out = np.asarray(out)
  assert ((out == 0).all(-1).sum((1, 2)) >= 1).all()  # the blank squares
  # A grey image changes in brightness alone: 100 becomes 60 to 140.
  pixels = 255 * (0.2 + 0.5 * out[(out != 0).all(-1)])
  assert 59.9 < pixels.min() < 65 and 135 < pixels.max() < 140.1

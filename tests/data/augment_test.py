"""Augmentation against slices made by hand."""

import jax
import numpy as np

from sdnas_jax.data import augment


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

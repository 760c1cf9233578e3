"""Batches: every example once, padding marked, images where they belong."""

import jax
import numpy as np

from sdnas_jax.data import split
from tests import toys


def test_an_epoch_visits_every_example_once_and_pads_the_last_batch():
  train, _ = toys.halves(train=20)
  order = np.asarray(split.order(jax.random.key(0), train, 8))
  assert order.shape == (3, 8)
  assert sorted(order.ravel()[:20]) == list(range(20))
  assert (order.ravel()[20:] == 20).all()
  other = split.order(jax.random.key(1), train, 8)
  assert not np.array_equal(order, other)


def test_batches():
  assert [split.batches(n, 64) for n in (25_000, 64, 65, 1)] == [391, 1, 2, 1]


def test_a_sample_has_no_repetition():
  _, valid = toys.halves(valid=18)
  for seed in range(20):
    index = np.asarray(split.sample(jax.random.key(seed), valid, 17))
    assert len(set(index.tolist())) == 17 and index.max() < 18


def test_take_gathers_normalised_images_and_marks_padding():
  train, _ = toys.halves(train=20)
  index = np.array([3, 19, 20, 0])
  batch = split.take(train, index, (0.5, 0.4), (0.2, 0.3))
  np.testing.assert_array_equal(batch.present, [True, True, False, True])
  np.testing.assert_array_equal(batch.index, index)
  np.testing.assert_array_equal(
    np.asarray(batch.label)[[0, 1, 3]], np.asarray(train.labels)[[3, 19, 0]]
  )
  pixels = np.asarray(train.images)[[3, 19, 0]] / 255
  np.testing.assert_allclose(
    np.asarray(batch.image)[[0, 1, 3]],
    (pixels - [0.5, 0.4]) / [0.2, 0.3],
    atol=1e-5,
  )

"""The sources, and what they refuse."""

import os
import pathlib

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.data import sources


def good(n=6):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (n, 4, 4, 3), np.uint8)
  return images, np.arange(n) % 3


def test_digits_are_scikit_learn_s():
  source = sources.find('digits', '')
  images, labels = sources.load(source, source.examples)
  assert images.shape == (1797, 8, 8, 1) and images.max() == 255
  assert np.bincount(labels).tolist() == [
    *(178, 182, 177, 183, 181),
    *(182, 181, 179, 174, 180),
  ]
  assert abs(images.mean() / 255 - source.mean[0]) < 1e-4
  assert abs(images.std() / 255 - source.std[0]) < 1e-4


def test_a_file_of_arrays_is_a_source(tmp_path):
  images, labels = good()
  np.savez(tmp_path / 'mine.npz', images=images, labels=labels)
  source = sources.find('arrays', str(tmp_path / 'mine.npz'))
  assert (source.examples, source.shape, source.classes) == (6, (4, 4, 3), 3)
  np.testing.assert_allclose(
    source.mean, (images / 255).mean((0, 1, 2)), rtol=1e-5
  )
  got, _ = sources.load(source, 4)
  np.testing.assert_array_equal(got, images[:4])


@pytest.mark.parametrize(
  'spoil, says',
  [
    (lambda x, y: (x.astype(np.float32), y), 'uint8'),
    (lambda x, y: (x[..., 0], y), r'\[6, 4, 4\]'),
    (lambda x, y: (x, y[:-1]), r'integers \[6\]'),
    (lambda x, y: (x, y + 0.5), 'float64'),
    (lambda x, y: (x, y - 1), 'from 0'),
    (lambda x, y: (x, y + 10**9), 'number the classes'),
  ],
)
def test_wrong_arrays_are_refused(spoil, says):
  with pytest.raises(errors.BadInput, match=says):
    sources.from_arrays(*spoil(*good()))


@pytest.mark.parametrize(
  'spoil, says',
  [
    (lambda x, y: (x.astype(np.int32), y), 'int32'),
    (lambda x, y: (x[:, :3], y), r'\[6, 3, 4, 3\]'),
    (lambda x, y: (x, y + 1), r'\[0, 3\)'),
    (lambda x, y: (x, y[:5]), r'integers \[6\]'),
  ],
)
def test_a_source_must_deliver_what_it_declares(spoil, says):
  images, labels = good()
  source = sources.from_arrays(images, labels)
  source = source._replace(load=lambda part: spoil(images, labels))
  with pytest.raises(errors.BadInput, match=says):
    sources.load(source, 6)


def test_near_names_are_offered():
  with pytest.raises(errors.BadInput, match='did you mean cifar10'):
    sources.find('cifar-10', '')


def test_a_missing_file_says_how_to_make_one():
  with pytest.raises(errors.BadInput, match=r'np\.savez'):
    sources.find('arrays', '/nowhere/mine.npz')


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04cut', b'text'])
def test_a_broken_file_is_no_traceback(tmp_path, content):
  (tmp_path / 'mine.npz').write_bytes(content)
  with pytest.raises(errors.BadInput, match='cannot read images'):
    sources.find('arrays', str(tmp_path / 'mine.npz'))


def test_a_single_array_is_no_traceback(tmp_path):
  np.save(tmp_path / 'mine.npy', np.zeros(3))
  with pytest.raises(errors.BadInput, match='cannot read images'):
    sources.find('arrays', str(tmp_path / 'mine.npy'))


CIFAR = pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'cifar10'


@pytest.mark.skipif(
  not CIFAR.exists(), reason='TFDS_DATA_DIR holds no CIFAR-10'
)
def test_cifar10_comes_in_the_order_of_its_files():
  source = sources.find('cifar10', '')
  images, labels = sources.load(source, 50_000)
  # The first labels of data_batch_1: frog, truck, truck, deer, automobile.
  assert labels[:5].tolist() == [6, 9, 9, 4, 1]
  assert images[0, 0, 0].tolist() == [59, 62, 63]
  np.testing.assert_array_equal(np.bincount(labels), [5000] * 10)

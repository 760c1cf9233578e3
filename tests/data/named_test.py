"""TFDS's data sets by name, as TFDS itself writes small ones."""

import time

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax import tf
from sdnas_jax.data import dataset
from sdnas_jax.data import named
from sdnas_jax.data import prepared
from sdnas_jax.data import sources


def noise(seed, *shape):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def store(folder, name, parts, features=None):
  """Prepares parts of rows, with these features or those of TFDS's builder."""
  tf.prepare()
  import tensorflow_datasets as tfds

  version = '1.0.0'
  if features is None:
    builder = tfds.builder(name, data_dir=folder)
    version, features = builder.version, builder.info.features
  tfds.dataset_builders.store_as_tfds_dataset(
    name=name,
    version=version,
    data_dir=folder,
    features=tfds.features.FeaturesDict(features),
    split_datasets={k: [*enumerate(rows)] for k, rows in parts.items()},
  )


def mnist(count, first=0):
  return [
    {'image': noise(n, 28, 28, 1), 'label': n % 10}
    for n in range(first, first + count)
  ]


def test_mnist_by_its_name(tmp_path):
  parts = {'train': mnist(20), 'test': mnist(7, 20)}
  store(tmp_path, 'mnist', parts)
  source = sources.find('mnist', str(tmp_path))
  assert (source.examples, source.tests, source.shape) == (20, 7, (28, 28, 1))
  assert source.names == tuple('0123456789')
  for part, rows in parts.items():
    images, labels = dataset.load(source, len(rows), part, 'file')
    got = {x.tobytes(): y for x, y in zip(images, labels, strict=True)}
    assert got == {row['image'].tobytes(): row['label'] for row in rows}
  every = np.stack([row['image'] for row in parts['train']]) / 255
  np.testing.assert_allclose(source.mean, every.mean())
  assert source.note == 'the test images have none of 3 classes: 7, 8, 9'


def test_pictures_of_several_sizes(tmp_path):
  """And a test part that comes before another; the names are TFDS's."""
  flowers = {
    part: [
      {'image': noise(n, 20 + n, 40, 3), 'label': n, 'file_name': str(n)}
      for n in range(count)
    ]
    for part, count in (('train', 6), ('validation', 3), ('test', 4))
  }
  store(tmp_path, 'oxford_flowers102', flowers)
  source = sources.find('oxford_flowers102', str(tmp_path))
  assert (source.examples, source.tests, source.shape) == (6, 4, (24, 24, 3))
  assert source.classes == 102 and source.names[0] == 'pink primrose'
  note = source.note.replace('\n', ' ')
  assert '40 x 20 to 40 x 25 pixels' in note
  assert note.endswith('left out: validation')
  assert sources.find('oxford_flowers102', str(tmp_path), 16).shape[0] == 16
  tf.prepare()
  import tensorflow_datasets as tfds

  builder = tfds.builder('oxford_flowers102', data_dir=tmp_path)
  table = [*builder.as_dataset(split='train').as_numpy_iterator()]
  images, labels = source.load('train')
  assert [row['label'] for row in table] == labels.tolist()
  for row, image in zip(table, images, strict=True):
    side = row['image'].shape[0]
    middle = row['image'][:, (40 - side) // 2 :][:, :side].astype(float)
    assert abs(middle.mean() - image.mean()) < 4


def test_one_s_own_prepared_data_set_in_a_folder(tmp_path):
  tf.prepare()
  import tensorflow_datasets as tfds

  features = {
    'picture': tfds.features.Image(shape=(8, 8, 3)),
    'kind': tfds.features.ClassLabel(names=['ant', 'bee']),
  }
  rows = [{'picture': noise(n, 8, 8, 3), 'kind': n % 2} for n in range(5)]
  store(tmp_path, 'mine', {'train': rows}, features)
  source = sources.find('mine', str(tmp_path))
  assert (source.examples, source.tests) == (5, 0)
  assert (source.names, source.note) == (('ant', 'bee'), '')
  store(tmp_path, 'exam', {'test': rows}, features)
  with pytest.raises(errors.BadInput, match='no part to train on, but test'):
    sources.find('exam', str(tmp_path))
  features['other'] = features['kind']
  rows = [row | {'other': 0} for row in rows]
  store(tmp_path, 'double', {'train': rows}, features)
  with pytest.raises(errors.BadInput, match='1 pictures and 2 classes'):
    sources.find('double', str(tmp_path))


def test_an_unknown_name_offers_near_ones_of_tfds():
  with pytest.raises(
    errors.BadInput, match='did you mean fashion_mnist of arra'
  ):
    sources.find('fashion_minst', '')
  with pytest.raises(
    errors.BadInput, match=r'choose one of arrays.*, or any of TFDS'
  ):
    sources.find('no such thing', '')


def test_what_cannot_be_downloaded_is_said_at_once(tmp_path, monkeypatch):
  def refuse(*args, **kwargs):
    raise ConnectionError('no route')

  monkeypatch.setattr(prepared.urllib.request, 'getproxies', dict)
  monkeypatch.setattr(prepared.socket, 'create_connection', refuse)
  begun = time.monotonic()
  with pytest.raises(errors.BadInput, match=r'mnist is neither .*no route'):
    sources.find('mnist', str(tmp_path))
  assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
  'name', ['', '..', '/', 'mnist/', 'a b', 'x' * 999, '~', 'huggingface:mnist']
)
def test_names_that_are_none(name):
  assert not named.knows(name, '/')

"""Tiny data sets that TFDS's own builders prepared, or in their format."""

import io
import zipfile

import numpy as np
from PIL import Image
import pytest

from sdnas_jax import errors
from sdnas_jax import tf
from sdnas_jax.data import dataset
from sdnas_jax.data import sources

CLASSES = 120


def noise(count, side):
  rng = np.random.default_rng(side)
  return rng.integers(0, 256, (count, side, side, 3), np.uint8)


def archive(path, images, labels, parts):
  """A zip of the downsampled ImageNet, as its authors give it."""
  with zipfile.ZipFile(path, 'w') as file:
    for n, rows in enumerate(np.array_split(np.arange(len(labels)), parts)):
      data = images[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1)
      part = io.BytesIO()
      np.savez(part, data=data, labels=labels[rows])
      file.writestr(f'train_data_batch_{n + 1}.npz', part.getvalue())
  return path


def imagenet16(folder, train, test, files=1):
  """Prepares 16 x 16 pixel ImageNet of such labels, from 1 on, by TFDS."""
  tf.prepare()
  import tensorflow_datasets as tfds

  images = noise(len(train) + len(test), 16)
  paths = [
    archive(folder / 'Imagenet16_train.zip', images, np.array(train), 3),
    archive(folder / 'Imagenet16_val.zip', images[len(train) :], test, 1),
  ]
  with pytest.MonkeyPatch.context() as patch:
    manager = tfds.download.DownloadManager
    patch.setattr(manager, 'download', lambda self, urls: paths)
    tfds.builder(
      'imagenet_resized/16x16', data_dir=folder
    ).download_and_prepare(
      download_config=tfds.download.DownloadConfig(num_shards=files)
    )
  return images


def cifar100(folder, train):
  """Writes CIFAR-100 of such labels, as TFDS's builder describes it."""
  tensor = tf.prepare()
  import tensorflow_datasets as tfds

  images = noise(len(train), 32)
  rows = {
    'coarse_label': np.zeros(len(train), np.int64),
    'id': [f'train_{n:05}' for n in range(len(train))],
    'image': images,
    'label': np.array(train),
  }
  builder = tfds.builder('cifar100', data_dir=folder)
  order = np.random.default_rng(0).permutation(len(train))
  rows = {key: np.asarray(value)[order] for key, value in rows.items()}
  tfds.dataset_builders.store_as_tfds_dataset(
    name='cifar100',
    version=builder.version,
    data_dir=folder,
    features=builder.info.features,
    split_datasets={'train': tensor.data.Dataset.from_tensor_slices(rows)},
  )
  return images


# 72 images for training, 3 a label, and 8 to test.
LABELS = np.tile([1, 2, 60, 119, 120, 121, 122, 1000], 9)
TESTS = LABELS[:8]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """In three files of 24 images, more than TFDS reads of one at a time."""
  folder = tmp_path_factory.mktemp('tfds')
  imagenet16(folder, LABELS, TESTS, files=3)
  return folder


def source(folder, examples=45, tests=5):
  return sources.imagenet16(CLASSES, examples, tests, str(folder))


def test_the_first_classes_are_the_benchmark_s(folder):
  images = noise(80, 16)
  parts = ('train', images[:72], LABELS), ('test', images[72:], TESTS)
  for part, originals, labels in parts:
    expected = {
      image.tobytes(): label - 1
      for image, label in zip(originals, labels, strict=True)
      if 1 <= label <= CLASSES  # the rule of the benchmark's code
    }
    found, count = source(folder), len(expected)
    images, labels = dataset.load(found, count, part)
    assert images.shape == (count, 16, 16, 3) and labels.dtype == np.int32
    got = zip(images, labels.tolist(), strict=True)
    assert {image.tobytes(): label for image, label in got} == expected


def test_their_order_is_that_of_the_records(folder, tmp_path):
  tensor = tf.prepare()
  images, labels = source(folder).load('train')
  files = sorted(map(str, folder.glob('imagenet_resized/*/*/*train.tfrecord*')))
  assert len(files) == 3
  expected = []
  for record in tensor.data.TFRecordDataset(files).as_numpy_iterator():
    feature = tensor.train.Example.FromString(record).features.feature
    (label,) = feature['label'].int64_list.value
    (png,) = feature['image'].bytes_list.value
    if label < CLASSES:
      expected.append((label, np.asarray(Image.open(io.BytesIO(png)))))
  assert labels.tolist() == [label for label, _ in expected]
  np.testing.assert_array_equal(images, [image for _, image in expected])
  imagenet16(tmp_path, LABELS, TESTS, files=1)
  np.testing.assert_array_equal(source(tmp_path).load('train')[0], images)


@pytest.mark.parametrize('examples, tests', [(44, 4), (46, 6)])
def test_other_counts_than_declared_are_refused(folder, examples, tests):
  wrong = source(folder, examples, tests)
  for part, count, there in ('train', examples, 45), ('test', tests, 5):
    says = f"'{part}' has {there} images of the first 120 classes, not {count}"
    with pytest.raises(errors.BadInput, match=says):
      wrong.load(part)


def test_cifar100_comes_in_the_order_of_its_files(tmp_path):
  labels = np.arange(20) * 7 % 100
  images = cifar100(tmp_path, labels)
  got = dataset.load(sources.find('cifar100', str(tmp_path)), 20)
  np.testing.assert_array_equal(got[0], images)
  np.testing.assert_array_equal(got[1], labels)

"""The stream of ImageNet, on a small data set that TFDS wrote in its format."""

import functools
import io
import math
import shutil

import jax
import numpy as np
from PIL import Image
import pytest

from sdnas_jax import errors
from sdnas_jax import tf
from sdnas_jax.data import sources
from sdnas_jax.data import stream

TRAIN, TEST, CLASSES = 21, 13, 40


def smooth(height, width, n=0):
  """An image without detail."""
  y, x = np.mgrid[:height, :width] / max(height, width)
  return np.stack([200 * x + n, 200 * y, 100 * (x + y)], -1).astype(np.uint8)


def jpeg(image):
  data = io.BytesIO()
  Image.fromarray(image).save(data, 'jpeg', quality=95, subsampling=0)
  return data.getvalue()


def decoded(image):
  return Image.open(io.BytesIO(jpeg(image)))


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """Labels number the images, those of the test part from 21 on."""
  tensor = tf.prepare()
  import tensorflow_datasets as tfds

  folder = tmp_path_factory.mktemp('tfds')

  def rows(labels):
    images = [smooth(40 + n, 80 - n, n) for n in labels]
    return tensor.data.Dataset.from_tensor_slices(
      {
        'file_name': [f'{n}.JPEG' for n in labels],
        'image': [jpeg(image) for image in images],
        'label': np.array(labels),
      }
    )

  tfds.dataset_builders.store_as_tfds_dataset(
    name='imagenet2012',
    version='5.1.0',
    data_dir=folder,
    features=tfds.features.FeaturesDict(
      {
        'file_name': tfds.features.Text(),
        'image': tfds.features.Image(encoding_format='jpeg'),
        'label': tfds.features.ClassLabel(num_classes=CLASSES),
      }
    ),
    split_datasets={
      'train': rows(range(TRAIN)),
      'validation': rows(range(TRAIN, TRAIN + TEST)),
    },
  )
  make = functools.partial(sources.imagenet, 'imagenet2012', CLASSES)
  return make(TRAIN, TEST, str(folder))


def labels(batches):
  return [n for b in batches for n in b.label[b.present].tolist()]


def epoch(source, *args, part='train', **kwargs):
  count = TRAIN if part == 'train' else TEST
  span = stream.Span(part, 0, count)
  return list(stream.batches(source, span, 8, *args, **kwargs))


def test_an_epoch_brings_every_image_once_in_an_order_of_its_own(source):
  one, two = (epoch(source, key=(0, n)) for n in range(2))
  assert [b.image.shape for b in one] == [(8, 224, 224, 3)] * 3
  assert one[0].image.dtype == np.uint8
  assert [int(b.present.sum()) for b in one] == [8, 8, 5]
  orders = [labels(batches) for batches in (one, two)]
  assert sorted(orders[0]) == sorted(orders[1]) == list(range(TRAIN))
  assert orders[0] != orders[1] and list(range(TRAIN)) not in orders


def test_a_resumed_stream_brings_what_the_other_would_have(source):
  whole, rest = epoch(source, key=(3, 1)), epoch(source, 1, key=(3, 1))
  assert len(rest) == 2
  for one, two in zip(whole[1:], rest, strict=True):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_the_test_images_are_not_varied(source):
  one, two = (epoch(source, part='test') for _ in range(2))
  assert sorted(labels(one)) == list(range(TRAIN, TRAIN + TEST))
  for a, b in zip(one, two, strict=True):
    np.testing.assert_array_equal(a.image, b.image)


@pytest.mark.parametrize('hosts', [2, 3, 4, 9])
def test_hosts_read_disjoint_parts_that_cover(source, hosts, monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: hosts)
  seen, present = [], np.zeros(3, int)
  for host in range(hosts):
    monkeypatch.setattr(jax, 'process_index', lambda host=host: host)
    batches = epoch(source, key=(0, 0))
    assert [len(b.label) for b in batches] == [math.ceil(8 / hosts)] * 3
    present += [int(b.present.sum()) for b in batches]
    seen += labels(batches)
  assert sorted(seen) == list(range(TRAIN))
  assert present.tolist() == [8, 8, 5]  # as one host alone has


def test_hosts_of_unlike_parts_bring_as_many_batches(source, monkeypatch):
  # 9 images: one host has 5, the other 4; 2 rows a batch make 3 and 2.
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  counts = []
  for host in range(2):
    monkeypatch.setattr(jax, 'process_index', lambda host=host: host)
    batches = stream.batches(source, stream.Span('train', 0, 9), 4)
    counts.append([int(b.present.sum()) for b in batches])
  assert counts == [[2, 2, 1], [2, 2, 0]]


def test_a_label_out_of_range_is_refused(source):
  with pytest.raises(errors.BadInput, match=r'lie in \[0, 5\)'):
    epoch(source._replace(classes=5), part='test')


def test_too_few_images_are_refused(source):
  span = stream.Span('train', 0, TRAIN + 1)
  with pytest.raises(errors.BadInput, match='has 21 images, not 22'):
    next(stream.batches(source, span, 8))


def test_an_older_prepared_version_serves(source, tmp_path):
  folder = tmp_path / 'imagenet2012' / '5.0.0'
  shutil.copytree(source.stream.args[1] + '/imagenet2012/5.1.0', folder)
  older = sources.imagenet('imagenet2012', CLASSES, TRAIN, TEST, str(tmp_path))
  assert sorted(labels(epoch(older))) == list(range(TRAIN))


def fake(images):
  """A source of JPEGs from memory, in their order."""
  tensor = tf.prepare()
  rows = {'image': images, 'label': np.zeros(len(images), np.int64)}
  data = tensor.data.Dataset.from_tensor_slices(rows)

  def read(part, first, last, seed):
    return data.skip(first).take(last - first)

  one = sources.imagenet('', 1, len(images), 0, '')
  return one._replace(stream=read)


def test_every_image_and_epoch_has_a_crop_of_its_own():
  same = fake([jpeg(smooth(60, 80))] * 12)
  span, seen = stream.Span('train', 0, 12), set()
  for epoch in range(2):
    for batch in stream.batches(same, span, 6, key=(0, epoch)):
      seen |= {image.tobytes() for image in batch.image}
  assert len(seen) == 24


@pytest.mark.parametrize('bad', [b'no image', jpeg(smooth(60, 80))[:300]])
def test_an_unreadable_image_is_a_sentence(bad):
  good = jpeg(smooth(60, 80))
  batches = stream.batches(fake([good, bad]), stream.Span('train', 0, 2), 2)
  with pytest.raises(errors.BadInput, match='an image to train cannot be read'):
    next(batches)


def test_more_hosts_than_images_pad(monkeypatch):
  few = fake([jpeg(smooth(60, 80))])
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  (batch,) = stream.batches(few, stream.Span('train', 0, 1), 4)
  assert not batch.present.any() and batch.image.shape == (2, 224, 224, 3)


def boxes(height, width, count=400):
  tensor = tf.prepare()
  seeds = tensor.stack([tensor.range(count), tensor.zeros(count, 'int32')], 1)
  draw = functools.partial(stream.random_box, height, width)
  return tensor.map_fn(draw, seeds).numpy()


def test_random_boxes_have_the_areas_and_ratios_of_the_rule():
  top, left, height, width = boxes(300, 400).T
  assert (top >= 0).all() and (top + height <= 300).all()
  assert (left >= 0).all() and (left + width <= 400).all()
  area, ratio = height * width / (300 * 400), width / height
  assert 0.079 < area.min() < 0.12 and 0.85 < area.max() <= 1
  assert 0.74 < ratio.min() < 0.78 and 1.29 < ratio.max() < 1.35
  # Half of a uniform area below its middle; the largest often fail to fit.
  assert 0.45 < np.mean(area < 0.54) < 0.65
  assert 0.4 < np.mean(np.log(ratio[area < 0.4]) < 0) < 0.6
  assert (top == 0).any() and (top + height == 300).any()
  # Where a box lies has nothing to do with its size and form.
  free = (top / np.maximum(300 - height, 1), left / np.maximum(400 - width, 1))
  for place in free:
    for trait in (area, np.log(ratio)):
      some = area < 0.5  # a large box has few places
      assert abs(np.corrcoef(place[some], trait[some])[0, 1]) < 0.25


@pytest.mark.parametrize(
  'size, box',
  [
    ((10, 1000), (0, 493, 10, 13)),  # 10 * 4 / 3 wide, (1000 - 13) // 2
    ((1000, 30), (480, 0, 40, 30)),  # 30 / (3 / 4) high
  ],
)
def test_what_fits_no_box_gives_its_centre(size, box):
  assert {tuple(found) for found in boxes(*size, count=20).tolist()} == {box}


# 500 becomes 426.67 pixels, 600 exactly 512; 513 leaves a half, 144.5.
@pytest.mark.parametrize(
  'size', [(300, 400), (300, 500), (600, 300), (256, 513), (100, 90)]
)
def test_the_centre_is_pillow_s(size):
  image = smooth(*size)
  height, width = (256 * n // min(size) for n in size)
  scaled = decoded(image).resize((width, height), Image.Resampling.BILINEAR)
  left, top = (round((n - 224) / 2) for n in scaled.size)
  expected = scaled.crop((left, top, left + 224, top + 224))
  found = stream.centre_crop(jpeg(image), 224).numpy()
  assert found.shape == (224, 224, 3)
  assert np.abs(found - np.asarray(expected, int)).max() <= 1


def test_scaling_is_pillow_s():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (90, 120, 3), np.uint8)
  found = stream._resized(image, [40, 50]).numpy()
  expected = Image.fromarray(image).resize((50, 40), Image.Resampling.BILINEAR)
  assert np.abs(found - np.asarray(expected, int)).max() <= 1


def test_a_random_crop_is_a_box_of_the_image():
  image = smooth(60, 80)
  seed = np.array([1, 2], np.int32)
  top, left, height, width = stream.random_box(60, 80, seed).numpy()
  part = decoded(image).crop((left, top, left + width, top + height))
  found = stream.random_crop(jpeg(image), seed, 64).numpy()
  expected = part.resize((64, 64), Image.Resampling.BILINEAR)
  assert np.abs(found - np.asarray(expected, int)).max() <= 1

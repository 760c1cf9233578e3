"""The sources, and what they refuse."""

import io
import json
import os
import pathlib
import zipfile

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.data import arrays
from sdnas_jax.data import dataset
from sdnas_jax.data import npz
from sdnas_jax.data import sources
from sdnas_jax.data import split


def good(n=6):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (n, 4, 4, 3), np.uint8)
  return images, np.arange(n) % 3


def test_digits_are_scikit_learn_s():
  source = sources.find('digits', '')
  images, labels = dataset.load(source, source.examples)
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
    source.mean, (images / 255).mean((0, 1, 2)), rtol=1e-12
  )
  got, _ = dataset.load(source, 4, order='file')
  np.testing.assert_array_equal(got, images[:4])


LAYOUTS = (
  *('images labels', 'x_train y_train', 'train_images train_labels', 'X y'),
  *('data target', 'data labels', 'X_train y_train'),
)


@pytest.mark.parametrize('names', LAYOUTS)
def test_arrays_go_by_several_names(tmp_path, names):
  images, labels = good()
  table = dict(zip(names.split(), (images, labels[:, None]), strict=True))
  np.savez(tmp_path / 'mine.npz', **table)
  source = sources.find('arrays', str(tmp_path / 'mine.npz'))
  assert (source.tests, source.note) == (0, '')
  got = dataset.load(source, 6, order='file')
  np.testing.assert_array_equal(got[0], images)
  assert got[1].tolist() == labels.tolist()


@pytest.mark.parametrize(
  'names, left',
  [
    ('images labels test_images test_labels', ''),
    ('x_train y_train x_test y_test', ''),
    ('train_images train_labels val_images val_labels', ''),
    (
      'train_images train_labels val_images val_labels test_images test_labels',
      'val_images, val_labels',
    ),
  ],
)
def test_a_file_of_arrays_may_have_a_test_part(tmp_path, names, left):
  """In greyscale, as MedMNIST's: [N, H, W], and labels [N, 1]."""
  images, labels = good(12)
  images, table = images[..., 0], {}
  for n, pair in enumerate(zip(*[iter(names.split())] * 2, strict=True)):
    rows = slice(0, 6) if n == 0 else slice(5 + n, None)
    values = images[rows], labels[rows, None].astype(np.uint8)
    table |= dict(zip(pair, values, strict=True))
  np.savez_compressed(tmp_path / 'mine.npz', **table)
  source = sources.find('arrays', str(tmp_path / 'mine.npz'))
  begin = 7 if left else 6
  assert (source.examples, source.tests) == (6, 12 - begin)
  assert source.shape == (4, 4, 1)
  got = dataset.load(source, 12 - begin, 'test', 'file')
  np.testing.assert_array_equal(got[0][..., 0], images[begin:])
  assert got[1].tolist() == labels[begin:].tolist()
  np.testing.assert_allclose(source.mean, images[:6].mean() / 255)
  assert source.note == (f'left out of the file: {left}' if left else '')


@pytest.mark.parametrize(
  'change, says',
  [
    ({'x_test': np.zeros((2, 4, 4, 1), np.uint8)}, 'test: .*resize'),
    ({'y_test': np.array([0, 3])}, r'test: .*\[0, 3\], .*\[0, 3\)'),
    (
      {'y_test': np.array([0, 1, 2, 0])},
      r'test: labels must be integers \[2\]',
    ),
    ({'y_train': np.eye(6, 3, dtype=int)}, r'labels\.argmax\(1\)'),
    ({'x_train': np.zeros((6, 4, 4))}, r'np\.round'),
  ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, change, says):
  images, labels = good()
  table = {'x_train': images, 'y_train': labels}
  table |= {'x_test': images[:2], 'y_test': labels[:2]} | change
  np.savez(tmp_path / 'mine.npz', **table)
  with pytest.raises(errors.BadInput, match=says):
    sources.find('arrays', str(tmp_path / 'mine.npz'))


def test_what_a_test_part_lacks_is_said():
  images, labels = good()
  source = arrays.from_arrays(images, labels, (images[:1], labels[:1]))
  assert source.note == 'the test images have none of 2 classes: 1, 2'


def test_other_names_say_which_are_known(tmp_path):
  np.savez(tmp_path / 'mine.npz', a=np.zeros(3), b=np.zeros(3))
  says = 'it has a, b, but neither images, labels or train_images'
  with pytest.raises(errors.BadInput, match=says):
    sources.find('arrays', str(tmp_path / 'mine.npz'))


def test_the_mean_of_many_pixels_is_exact():
  """Where a float32 sum of 51 million stops growing."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (50_000, 32, 32, 1), np.uint8)
  images = np.concatenate([images, 255 - images], axis=-1)
  source = arrays.from_arrays(images, np.arange(50_000) % 10)
  whole = images.astype(object)[:0].sum()  # Python's whole numbers
  for channel in range(2):
    values, counts = np.unique(images[..., channel], return_counts=True)
    pairs = [*zip(values.tolist(), counts.tolist(), strict=True)]
    n = sum(count for _, count in pairs)
    mean = whole + sum(v * count for v, count in pairs) / n / 255
    square = sum((v / 255 - mean) ** 2 * count for v, count in pairs) / n
    assert source.mean[channel] == pytest.approx(mean, rel=1e-14)
    assert source.std[channel] == pytest.approx(square**0.5, rel=1e-12)
  assert sum(source.mean) == pytest.approx(1, rel=1e-14)


def test_a_constant_channel_is_named_and_not_blown_up():
  images, labels = good()
  images = np.concatenate([images, np.full_like(images[..., :1], 255)], axis=-1)
  source = arrays.from_arrays(images, labels)
  assert 'channel 3' in source.note
  assert source.mean[3] == 1 and source.std[3] == 1 / 255
  assert not arrays.from_arrays(*good()).note


@pytest.mark.parametrize('counts', [(50,) * 4, (3, 90, 7), (2, 2, 1000)])
def test_own_data_sorted_by_class_are_split_by_class(counts):
  labels = np.repeat(np.arange(len(counts)), counts)
  images = np.zeros((len(labels), 2, 2, 1), np.uint8)
  images[:, 0, 0, 0], images[:, 1, 1, 0] = labels % 256, 9
  images[:, 0, 1, 0] = np.arange(len(labels)) % 251
  source = arrays.from_arrays(images, labels)
  total = len(labels)
  got, own = dataset.load(source, total)
  np.testing.assert_array_equal(got[:, 0, 0, 0], own % 256)
  rows = lambda x: sorted(map(bytes, x))  # noqa: E731
  assert rows(got) == rows(images)
  for part in (own[: total // 2], own[total // 2 :], own[: total // 5]):
    share = np.bincount(part, minlength=len(counts)) / len(part)
    expected = np.array(counts) / total
    assert (np.abs(share - expected) * len(part) <= 1.5).all()
  for half in (own[: total // 2], own[total // 2 :]):
    assert split.lacking('half', half, len(counts)) == ''
  again, _ = dataset.load(source, total)
  np.testing.assert_array_equal(got, again)
  assert not np.array_equal(got, images)
  plain, _ = dataset.load(source, total, order='file')
  np.testing.assert_array_equal(plain, images)


def test_a_part_that_lacks_classes_says_so():
  said = split.lacking('validation', np.repeat([0, 2], 5), 4)
  assert 'validation' in said and '2 of 4' in said and '1, 3' in said


def test_the_same_data_are_known_by_their_content(tmp_path):
  images, labels = good()
  told = []
  for name, x in (('a', images), ('b', images), ('c', images + 1)):
    np.savez(tmp_path / f'{name}.npz', images=x, labels=labels)
    source = sources.find('arrays', str(tmp_path / f'{name}.npz'))
    told.append(dataset.told(source, dataset.load(source, 6)))
  assert told[0] == told[1] and told[0]['digest'] != told[2]['digest']
  known = dataset.recalled(json.loads(json.dumps(told[0])))
  assert (known.shape, known.classes) == ((4, 4, 3), 3)
  assert known.mean == source._replace(mean=known.mean).mean


@pytest.mark.parametrize(
  'spoil, says',
  [
    (lambda x, y: (x / 255, y), r'uint8.*\(255 \* images\)\) mends'),
    (lambda x, y: (x.astype(np.float32), y), r'round\(images\)\) mends'),
    (lambda x, y: (x.astype(int), y), r'round\(images\)\) mends'),
    (lambda x, y: (x - 300.0, y), 'rescale'),
    (lambda x, y: (x[:0], y[:0]), 'there are none'),
    (lambda x, y: (x[..., 0, 0], y), r'\[6, 4\]'),
    (lambda x, y: (x, y[:-1]), r'integers \[6\]'),
    (lambda x, y: (x, y + 0.5), 'float64'),
    (lambda x, y: (x, y > 1), r'bool .* labels.astype\(int\) mends'),
    (lambda x, y: (x, y[0]), r'integers \[6\]'),
    (lambda x, y: (x, y - 1), 'from 0'),
    (lambda x, y: (x, y + 1), r'3 classes .* in \[1, 3\]'),
    (lambda x, y: (x, y * 50), 'number them anew'),
    (lambda x, y: (x, y + 10**9), 'number them anew'),
    (lambda x, y: (x, 0 * y), 'one class'),
    (lambda x, y: (x / 255, y), 'np.round'),
    # Other frameworks' layouts.
    (
      lambda x, y: (np.zeros((6, 1, 8, 8), np.uint8), y),
      r'transpose\(0, 2, 3, 1\)',
    ),
    (lambda x, y: (x.transpose(0, 3, 1, 2).repeat(2, 3), y), 'transpose'),
    (lambda x, y: (x.transpose(1, 2, 3, 0), y), r'transpose\(3, 0, 1, 2\)'),
  ],
)
def test_wrong_arrays_are_refused(spoil, says):
  with pytest.raises(errors.BadInput, match=says):
    arrays.from_arrays(*spoil(*good()))


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
  source = arrays.from_arrays(images, labels)
  source = source._replace(load=lambda part: spoil(images, labels))
  with pytest.raises(errors.BadInput, match=says):
    dataset.load(source, 6, order='file')


def test_near_names_are_offered():
  with pytest.raises(errors.BadInput, match='did you mean cifar10'):
    sources.find('cifar-10', '')


def test_a_path_is_no_name(tmp_path):
  with pytest.raises(errors.BadInput, match='=folder --config'):
    sources.find(str(tmp_path), '')


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


def archive(**members):
  """The bytes of an npz of such members."""
  data = io.BytesIO()
  with zipfile.ZipFile(data, 'w') as file:
    for name, content in members.items():
      file.writestr(f'{name}.npy', content)
  return data.getvalue()


def test_an_array_larger_than_its_file_is_not_made(tmp_path):
  """Nor is one of objects unpickled."""
  head = io.BytesIO()
  claim = {'descr': '|u1', 'fortran_order': False, 'shape': (10**15,)}
  np.lib.format.write_array_header_1_0(head, claim)
  objects = io.BytesIO()
  np.save(objects, np.array([print], object), allow_pickle=True)
  for content, says in ((head, 'shorter'), (objects, 'allow_pickle')):
    (tmp_path / 'mine.npz').write_bytes(archive(images=content.getvalue()))
    with pytest.raises(ValueError, match=says):
      npz.read(tmp_path / 'mine.npz')


def test_mutated_archives_raise_what_is_documented(tmp_path):
  data, rng = io.BytesIO(), np.random.default_rng(0)
  images, labels = good()
  np.savez_compressed(data, images=images, labels=labels)
  whole, path = np.frombuffer(data.getvalue(), np.uint8), tmp_path / 'mine.npz'
  refused = 0
  for _ in range(400):
    end = rng.choice([len(whole), rng.integers(1, len(whole))], p=[0.9, 0.1])
    bad = whole[:end].copy()
    bad[rng.integers(0, len(bad), rng.integers(0, 9))] = rng.integers(256)
    path.write_bytes(bad.tobytes())
    try:
      npz.read(path, ('images', 'labels'))
    except ValueError:
      refused += 1
  assert 100 < refused < 400


CIFAR = pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'cifar10'


@pytest.mark.skipif(
  not CIFAR.exists(), reason='TFDS_DATA_DIR holds no CIFAR-10'
)
def test_cifar10_comes_in_the_order_of_its_files():
  source = sources.find('cifar10', '')
  images, labels = dataset.load(source, 50_000)
  # The first labels of data_batch_1: frog, truck, truck, deer, automobile.
  assert labels[:5].tolist() == [6, 9, 9, 4, 1]
  assert images[0, 0, 0].tolist() == [59, 62, 63]
  np.testing.assert_array_equal(np.bincount(labels), [5000] * 10)

"""CIFAR's archives, written as Python 2 has written them."""

import io
import os
import pathlib
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.data import archives
from sdnas_jax.data import dataset
from sdnas_jax.data import sources


class Old(pickle._Pickler):
  """Python 2's protocol 2, in which bytes are strings."""

  dispatch: ClassVar = dict(pickle._Pickler.dispatch)

  def string(self, value):
    self.write(pickle.BINSTRING + struct.pack('<i', len(value)) + value)
    self.memoize(value)

  dispatch[bytes] = string

  def save_global(self, value, name=None):
    known = {np.ndarray: b'numpy\nndarray', np.dtype: b'numpy\ndtype'}
    name = known.get(value, b'numpy.core.multiarray\n_reconstruct')
    self.write(pickle.GLOBAL + name + b'\n')

  dispatch[type] = save_global


def pickled(table):
  content = io.BytesIO()
  Old(content, 2).dump(table)
  return content.getvalue()


def batches(name, each=4):
  """The files of an archive, and each part's images and labels."""
  own, rng, files, parts = (
    archives.LAYOUTS[name],
    np.random.default_rng(0),
    {},
    {},
  )
  for part in ('train', 'test'):
    images, labels = [], []
    for file in getattr(own, part):
      data = rng.integers(0, 256, (each, 3, 32, 32), np.uint8)
      said = rng.integers(0, 10, each).tolist()
      files[file] = pickled(
        {
          b'batch_label': b'training batch 1 of 5',
          own.labels: said,
          b'data': data.reshape(each, -1),
          b'filenames': [b'%d.png' % n for n in range(each)],
        }
      )
      images.append(data.transpose(0, 2, 3, 1))
      labels += said
    parts[part] = np.concatenate(images), labels
  return files, parts


def unpacked(folder, name, files):
  place = folder / archives.LAYOUTS[name].folder
  place.mkdir()
  for file, content in files.items():
    (place / file).write_bytes(content)
  return place


def packed(folder, name, files):
  own = archives.LAYOUTS[name]
  with tarfile.open(folder / own.archive, 'w:gz') as archive:
    for file, content in files.items():
      info = tarfile.TarInfo(f'{own.folder}/{file}')
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return folder / own.archive


@pytest.mark.parametrize('name', ['cifar10', 'cifar100'])
@pytest.mark.parametrize('lay', [unpacked, packed])
def test_an_archive_is_read_in_its_order(tmp_path, name, lay):
  files, parts = batches(name)
  path = lay(tmp_path, name, files)
  for place in (tmp_path, path):  # torchvision's root, or what lies there
    source = sources.find(name, str(place))
    for part, (images, labels) in parts.items():
      got = dataset.load(source, len(labels), part)
      np.testing.assert_array_equal(got[0], images)
      assert got[1].tolist() == labels and got[1].dtype == np.int32


def test_the_pickles_of_this_test_are_numpy_s():
  """What an unpickler without restrictions makes of them."""
  files, parts = batches('cifar10')
  table = pickle.loads(files['test_batch'], encoding='bytes')
  images = table[b'data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  np.testing.assert_array_equal(images, parts['test'][0])
  assert b'cnumpy\nndarray' in files['test_batch']


class Hostile:
  """Writes a file when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


def test_a_pickle_calls_nothing(tmp_path):
  files, _ = batches('cifar10')
  made = tmp_path / 'made'
  for content in (
    pickle.dumps(Hostile(made), 2),
    pickle.dumps({b'data': Hostile(made), b'labels': [1]}),
    b'cbuiltins\neval\n(S"open(%r, \'w\')"\ntR.' % str(made).encode(),
    b'cnumpy\nload\n.',
  ):
    files['data_batch_3'] = content
    place = tmp_path / str(len(content))
    place.mkdir()
    unpacked(place, 'cifar10', files)
    with pytest.raises(errors.BadInput, match='it names '):
      sources.find('cifar10', str(place)).load('train')
  assert not made.exists()


def test_a_damaged_archive_is_no_traceback(tmp_path):
  files, _ = batches('cifar10')
  path, rng = packed(tmp_path, 'cifar10', files), np.random.default_rng(0)
  whole = path.read_bytes()
  says = 'not cifar10 as its authors give it'
  for content in (b'', b'text', whole[: len(whole) // 2]):
    path.write_bytes(content)
    with pytest.raises(errors.BadInput, match=says):
      sources.find('cifar10', str(path)).load('train')
  place = unpacked(tmp_path, 'cifar10', files)
  whole = np.frombuffer(files['test_batch'], np.uint8)
  refused = 0
  for _ in range(400):
    bad = whole[: rng.integers(1, len(whole) + 1)].copy()
    where = rng.choice([200, len(bad)])  # the opcodes are at the beginning
    bad[rng.integers(0, min(where, len(bad)), 3)] = rng.integers(256)
    (place / 'test_batch').write_bytes(bad.tobytes())
    try:
      sources.find('cifar10', str(place)).load('test')
    except errors.BadInput:
      refused += 1
  assert refused > 200


@pytest.mark.parametrize(
  'change, says',
  [
    ({b'labels': [1, 2, 3]}, 'reshape'),
    ({b'labels': [b'a'] * 4}, 'no integers'),
    ({b'data': np.zeros((4, 3072), np.int32)}, 'no bytes in rows'),
    ({b'data': np.zeros((3072, 4), np.uint8).T}, 'no bytes in rows'),
    ({b'data': 3}, 'raw'),
  ],
)
def test_other_arrays_are_refused(tmp_path, change, says):
  files, _ = batches('cifar10')
  data = {b'labels': [1] * 4, b'data': np.zeros((4, 3072), np.uint8)}
  files['test_batch'] = pickled(data | change)
  place = unpacked(tmp_path, 'cifar10', files)
  with pytest.raises(errors.BadInput, match=says):
    sources.find('cifar10', str(place)).load('test')


def test_without_an_archive_tfds_is_asked(tmp_path):
  assert archives.find('cifar10', '') is None
  assert archives.find('cifar10', str(tmp_path)) is None
  assert archives.find('cifar10', '/nowhere') is None
  assert archives.find('cifar10', 'x' * 999) is None


CIFAR = pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'cifar10'


@pytest.mark.skipif(
  not CIFAR.exists(), reason='TFDS_DATA_DIR holds no CIFAR-10'
)
def test_an_archive_s_images_are_those_of_tfds(tmp_path):
  """Its order is that of the authors' files, five times 10,000."""
  own = archives.LAYOUTS['cifar10']
  there = {p: sources.find('cifar10', '').load(p) for p in ('train', 'test')}
  files = {}
  for part, (images, labels) in there.items():
    for n, file in enumerate(getattr(own, part)):
      rows = slice(10_000 * n, 10_000 * (n + 1))
      data = images[rows].transpose(0, 3, 1, 2).reshape(10_000, -1)
      files[file] = pickled(
        {own.labels: labels[rows].tolist(), b'data': np.ascontiguousarray(data)}
      )
  # The first labels of data_batch_1, and of test_batch, as given in Python.
  assert there['train'][1][:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
  assert there['test'][1][:5].tolist() == [3, 8, 8, 0, 6]
  unpacked(tmp_path, 'cifar10', files)
  source = sources.find('cifar10', str(tmp_path))
  for part, (images, labels) in there.items():
    got = dataset.load(source, len(labels), part)
    np.testing.assert_array_equal(got[0], images)
    np.testing.assert_array_equal(got[1], labels)

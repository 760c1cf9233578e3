"""Folders of pictures, written by Pillow and read by the source."""

import functools
import io
import os
import pathlib

import numpy as np
from PIL import Image
import pytest

from sdnas_jax import errors
from sdnas_jax.data import dataset
from sdnas_jax.data import decode
from sdnas_jax.data import sources


def noise(height, width, channels=3, seed=0):
  shape = (height, width, channels)[: 2 + (channels > 1)]
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path, pixels=None, **how):
  """A picture of such pixels, by default of noise that its name decides."""
  path.parent.mkdir(parents=True, exist_ok=True)
  if pixels is None:
    pixels = noise(8, 8, seed=sum(map(ord, str(path.name))))
  Image.fromarray(pixels).save(path, **how)
  return pixels


def two_classes(root, count=3):
  for name in ('cat', 'dog'):
    for n in range(count):
      write(root / name / f'{n}.png', noise(8, 8, seed=n + 9 * len(name)))
  return root


def one(content, size=0):
  """What a single file is decoded to, and the note."""
  files = [('x', functools.partial(io.BytesIO, content))]
  images, note = decode.every(files, size)
  return images[0], note


def encoded(image, kind='PNG', **how):
  content = io.BytesIO()
  image.save(content, kind, **how)
  return content.getvalue()


def test_a_folder_of_classes_is_a_source(tmp_path):
  expected = {}
  for name, count in (('dog', 2), ('ant', 3), ('cat', 4)):
    for n in range(count):
      pixels = noise(8, 10, seed=len(expected))
      # Upper case, and a folder deeper.
      below = pathlib.Path(name, *(['more'] if n == 1 else []))
      expected[below / f'{n}.PNG'] = write(
        tmp_path / below / f'{n}.PNG', pixels
      )
  source = sources.find('folder', str(tmp_path))
  assert source.names == ('ant', 'cat', 'dog')
  assert (source.examples, source.tests) == (9, 0)
  assert (source.shape, source.classes, source.note) == ((8, 10, 3), 3, '')
  images, labels = dataset.load(source, 9, order='file')
  assert labels.tolist() == [0] * 3 + [1] * 4 + [2] * 2
  order = ['ant/0', 'ant/2', 'ant/more/1', 'cat/0', 'cat/2', 'cat/3']
  order += ['cat/more/1', 'dog/0', 'dog/more/1']
  for name, image in zip(order, images, strict=True):
    np.testing.assert_array_equal(image, expected[pathlib.Path(f'{name}.PNG')])
  np.testing.assert_allclose(source.mean, images.mean((0, 1, 2)) / 255)
  assert dataset.told(source)['names'] == ('ant', 'cat', 'dog')


@pytest.mark.parametrize(
  'train, test',
  [('train', 'test'), ('Training', 'Testing'), ('train', 'val')],
)
def test_a_test_part_is_the_source_s_own(tmp_path, train, test):
  two_classes(tmp_path / train)
  held = write(tmp_path / test / 'dog' / 'x.png')
  (tmp_path / test / 'cat').mkdir()
  source = sources.find('folder', str(tmp_path))
  assert (source.examples, source.tests, source.classes) == (6, 1, 2)
  images, labels = dataset.load(source, 1, 'test')
  np.testing.assert_array_equal(images[0], held)
  assert labels.tolist() == [1]
  assert source.note == 'the test images have none of 1 classes: cat'


def test_what_lies_beside_the_parts_is_said(tmp_path):
  two_classes(tmp_path / 'train')
  two_classes(tmp_path / 'val')
  two_classes(tmp_path / 'test', 2)
  source = sources.find('folder', str(tmp_path))
  assert source.tests == 4 and source.note == 'left out beside train: val'


def test_a_test_part_without_classes_is_left_out(tmp_path):
  """As that of a competition, which has no labels."""
  two_classes(tmp_path / 'train')
  write(tmp_path / 'test' / '1.png')
  source = sources.find('folder', str(tmp_path))
  assert source.tests == 0 and source.note == 'left out beside train: test'


def test_a_class_may_be_called_train(tmp_path):
  two_classes(tmp_path)
  write(tmp_path / 'train' / '1.png')
  source = sources.find('folder', str(tmp_path))
  assert source.names == ('cat', 'dog', 'train')


def test_hidden_files_are_passed_over_and_others_said(tmp_path):
  two_classes(tmp_path)
  for name in ('.DS_Store', '._0.png', 'Thumbs.db', 'notes.txt', 'noending'):
    (tmp_path / 'cat' / name).write_bytes(b'x')
  for name in ('.git', '__MACOSX'):
    (tmp_path / name).mkdir()
  (tmp_path / 'LICENSE').write_text('')
  source = sources.find('folder', str(tmp_path))
  assert (source.examples, source.classes) == (6, 2)
  assert '2 files, as cat/noending' in source.note.replace('\n', ' ')


def test_links_neither_hang_nor_are_followed_in_circles(tmp_path):
  two_classes(tmp_path / 'real')
  (tmp_path / 'real' / 'cat' / 'up').symlink_to(tmp_path / 'real')
  (tmp_path / 'linked').mkdir()
  for name in ('cat', 'dog'):
    (tmp_path / 'linked' / name).symlink_to(tmp_path / 'real' / name)
  for place in ('real', 'linked'):
    source = sources.find('folder', str(tmp_path / place))
    assert source.examples == 6
  cat = tmp_path / 'real' / 'cat'
  (cat / 'itself.png').symlink_to(cat / 'itself.png')
  (cat / 'none.png').symlink_to(cat / 'nowhere.png')
  os.mkfifo(cat / 'pipe.png')
  says = r'3 of 9 .*cat/itself\.png .*cat/none\.png .*cat/pipe\.png '
  with pytest.raises(errors.BadInput, match=says):
    sources.find('folder', str(tmp_path / 'real'))


def test_broken_files_are_named(tmp_path):
  two_classes(tmp_path)
  bad = tmp_path / 'dog' / 'bad.jpg'
  bad.write_bytes(b'no picture')
  says = r'1 of 7 pictures cannot be read: mend or remove dog/bad\.jpg \(Unid'
  with pytest.raises(errors.BadInput, match=says):
    sources.find('folder', str(tmp_path))
  whole = encoded(Image.fromarray(noise(90, 90)), 'JPEG')
  bad.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(errors.BadInput, match=r'dog/bad\.jpg .*truncated'):
    sources.find('folder', str(tmp_path))
  bad.write_bytes(whole)
  for n in range(5):
    (tmp_path / 'cat' / f'b{n}.png').write_bytes(b'')
  with pytest.raises(errors.BadInput, match=r'5 of 12.*b2\.png .*, \.\.\.$'):
    sources.find('folder', str(tmp_path))


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
  two_classes(tmp_path)
  write(tmp_path / 'cat' / 'bomb.png', noise(20, 20))
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 399)  # of which it warns
  assert sources.find('folder', str(tmp_path)).examples == 7
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 199)
  with pytest.raises(errors.BadInput, match=r'cat/bomb\.png \(Decompression'):
    sources.find('folder', str(tmp_path))


def test_postscript_is_not_run(tmp_path):
  two_classes(tmp_path)
  content = encoded(Image.fromarray(noise(8, 8)), 'EPS')
  (tmp_path / 'cat' / 'x.png').write_bytes(content)
  with pytest.raises(errors.BadInput, match=r'cat/x\.png'):
    sources.find('folder', str(tmp_path))


@pytest.mark.parametrize(
  'spoil, says',
  [
    (lambda root: '', "no folder ''"),
    (lambda root: root / 'nowhere', 'no folder .*nowhere'),
    (lambda root: 'x' * 999, 'no folder'),
    (lambda root: write(root / 'a.png') is None or root, 'no folders of'),
    (lambda root: (root / 'a' / 'b').mkdir(parents=True) or root, 'no folders'),
    (
      lambda root: write(root / 'a' / '1.png') is None or root,
      "one class, 'a',",
    ),
    (
      lambda root: two_classes(root / 'deeper') and root,
      "one class, 'deeper',",
    ),
    (
      lambda root: (two_classes(root) / 'empty').mkdir() or root,
      "class 'empty' .* no pictures",
    ),
    (
      lambda root: (
        two_classes(root / 'train')
        and two_classes(root / 'test' / 'x')
        and root
      ),
      "class 'x', which those to train on",
    ),
  ],
)
def test_what_is_no_folder_of_classes_is_refused(tmp_path, spoil, says):
  with pytest.raises(errors.BadInput, match=says):
    sources.find('folder', str(spoil(tmp_path)))


def on_white(pixels):
  """[..., colours and alpha] over white, by arithmetic."""
  alpha = pixels[..., -1:] / 255
  return np.round(pixels[..., :-1] * alpha + 255 * (1 - alpha))


def test_every_mode_is_read():
  grey, colour = noise(6, 7, 1), noise(6, 7)
  masked, clear = noise(6, 7, 4), np.stack([grey, noise(6, 7, 1, 1)], -1)
  black = grey > 127
  palette = Image.fromarray(grey % 5).convert('P')
  palette.putpalette([*range(0, 150, 10)])
  threes = np.arange(0, 150, 10).reshape(5, 3)[grey % 5]
  hole = threes.copy()
  hole[grey % 5 == 2] = 255
  ink = Image.fromarray(colour).convert('CMYK')
  deep = noise(6, 7, 1).astype(np.uint16) * 257 + 100
  for image, kind, how, expected, error in (
    (Image.fromarray(black), 'PNG', {}, 255 * black, 0),
    (Image.fromarray(grey), 'PNG', {}, grey, 0),
    (Image.fromarray(clear, 'LA'), 'PNG', {}, on_white(clear)[..., 0], 1),
    (palette, 'PNG', {}, threes, 0),
    (palette, 'PNG', {'transparency': 2}, hole, 0),
    (palette, 'GIF', {'transparency': 2}, hole, 0),
    (Image.fromarray(colour), 'PPM', {}, colour, 0),
    (Image.fromarray(colour), 'BMP', {}, colour, 0),
    (Image.fromarray(colour), 'TIFF', {}, colour, 0),
    (Image.fromarray(colour), 'WEBP', {'lossless': True}, colour, 0),
    (Image.fromarray(masked), 'PNG', {}, on_white(masked), 1),
    (Image.fromarray(np.minimum(deep, 65535)), 'PNG', {}, grey, 1),
    (Image.fromarray(np.minimum(deep, 65535)), 'TIFF', {}, grey, 1),
    (ink, 'TIFF', {}, colour, 1),
    (ink, 'JPEG', {'quality': 100, 'subsampling': 0}, colour, 12),
  ):
    got, note = one(encoded(image, kind, **how))
    expected = expected[..., None] if expected.ndim == 2 else expected
    assert got.shape == expected.shape and not note, (kind, image.mode)
    assert np.abs(got - expected.astype(float)).max() <= error, image.mode


@pytest.mark.parametrize('turn', range(1, 9))
def test_exif_s_turns_are_made(turn):
  pixels = noise(8, 8, 1)
  lies = {  # what an upright picture looks like, as the tag has it stored
    1: pixels,
    2: pixels[:, ::-1],
    3: pixels[::-1, ::-1],
    4: pixels[::-1],
    5: pixels.T,
    6: np.rot90(pixels),
    7: pixels[::-1, ::-1].T,
    8: np.rot90(pixels, -1),
  }
  exif = Image.Exif()
  exif[0x0112] = turn
  image = Image.fromarray(np.ascontiguousarray(lies[turn]))
  for kind in ('PNG', 'TIFF'):
    got, _ = one(encoded(image, kind, exif=exif))
    np.testing.assert_array_equal(got[..., 0], pixels)


def test_grey_pictures_among_coloured_ones_are_coloured(tmp_path):
  grey = write(tmp_path / 'a' / '1.png', noise(8, 8, 1))
  write(tmp_path / 'b' / '1.png', noise(8, 8, 1, seed=1))
  assert sources.find('folder', str(tmp_path)).shape == (8, 8, 1)
  write(tmp_path / 'b' / '2.png')
  images, _ = sources.find('folder', str(tmp_path)).load('train')
  np.testing.assert_array_equal(images[0], np.stack([grey] * 3, -1))


@pytest.mark.parametrize(
  'shapes, size, side',
  [
    ([(28, 28)] * 3, 0, (28, 28)),
    ([(20, 32)] * 3, 0, (20, 32)),
    ([(20, 33)] * 3, 0, (20, 20)),
    ([(64, 64)] * 3, 0, (32, 32)),
    ([(64, 64)] * 3, 48, (48, 48)),
    ([(9, 14), (30, 11), (12, 40)], 0, (12, 12)),
    ([(1, 1), (2, 5), (1, 9)], 0, (4, 4)),
    ([(10, 300), (500, 400)], 16, (16, 16)),
  ],
)
def test_several_sizes_become_one(tmp_path, shapes, size, side):
  for n, shape in enumerate(shapes * 2):
    write(tmp_path / 'ab'[n % 2] / f'{n}.png', noise(*shape, seed=n))
  source = sources.find('folder', str(tmp_path), size)
  assert source.shape == (*side, 3)
  assert ('resized' in source.note) == ({*shapes} != {side})
  assert max(map(len, source.note.split('\n'))) < 80


def test_the_middle_is_what_is_kept():
  """Of a ramp, whose mean over each block of pixels is known."""
  ramp = np.broadcast_to(np.arange(120, dtype=np.uint8)[None], (40, 120))
  got, note = one(encoded(Image.fromarray(ramp), 'PNG'), 8)
  expected = 40 + np.arange(40).reshape(8, 5).mean(1)
  assert np.abs(got[2:-2, 1:-1, 0] - expected[1:-1]).max() <= 1
  assert 'of 120 x 40 pixels' in note and 'to 8 x 8' in note
  # A JPEG that is decoded at an eighth of its size.
  ramp = ramp.repeat(16, 0).repeat(16, 1)
  got, _ = one(encoded(Image.fromarray(ramp), 'JPEG', quality=95), 8)
  assert np.abs(got[2:-2, 1:-1, 0] - expected[1:-1]).max() <= 2


def test_a_picture_of_numbers_without_a_range_is_refused():
  image = Image.fromarray(np.zeros((4, 4), np.float32))
  with pytest.raises(errors.BadInput, match='no known range'):
    one(encoded(image, 'TIFF'))
  image = Image.fromarray(np.full((4, 4), 70_000, np.int32))
  with pytest.raises(errors.BadInput, match='more than 16 bits'):
    one(encoded(image, 'TIFF'))


def test_other_sources_have_their_own_size():
  with pytest.raises(errors.BadInput, match=r'digits.*data\.size=0'):
    sources.find('digits', '', 16)

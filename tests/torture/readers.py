"""Reads damaged files and strings, which must be refused as documented.

  python -m tests.torture.readers --count=20000 --seed=0

Genotypes and architectures, arrays, pictures, CIFAR's pickles, tables, JSON and
its lines. A fault is any error but the one that the reader's docstring names,
one that has more than a line, or a genotype that is not the same once written
and read.
"""

from collections.abc import Callable
from collections.abc import Iterator
import functools
import io
import json
import pathlib
import random
import sys

import numpy as np
from PIL import Image

from sdnas_jax import errors
from sdnas_jax.data import archives
from sdnas_jax.data import decode
from sdnas_jax.data import npz
from sdnas_jax.data import sources
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import published
from tests import torture
from tests.data import archives_test
from tests.spaces import foreign_test
from tests.spaces import published_test

USUAL = [published.CELLS[n].genotype.fields for n in ('DARTS_V2', 'PDARTS')]
USUAL += [published_test.cells(2, -1), published.find('5').fields]
ROWS = 'epoch,train_loss,note\n0,2.3,""\n1,nan,"a, b"\n2,1e-5,\n'


def genotype(rng):
  fields = published_test.mutated(rng, rng.choice(USUAL))
  return torture.mangled(rng, json.dumps(fields).encode())


def foreign(rng):
  return torture.mangled(rng, rng.choice(foreign_test.TEXTS).encode())


def architecture(rng):
  string = nasbench201.text(nasbench201.cell(rng.randrange(nasbench201.SIZE)))
  return torture.mangled(
    rng, rng.choice([string, str(rng.randrange(20_000))]).encode()
  )


def arrays(rng):
  data, shape = io.BytesIO(), (rng.randrange(7), 4, 4, rng.randrange(4))
  kind = rng.choice([np.uint8, np.float32, np.int64, '<U3'])
  images, labels = np.zeros(shape, kind), np.arange(shape[0]) % 3
  write = rng.choice([np.savez, np.savez_compressed])
  write(data, images=images, labels=labels)
  return torture.mangled(rng, data.getvalue())


def picture(rng):
  image = Image.fromarray(np.zeros((9, 7, 3), np.uint8))
  data, kind = io.BytesIO(), rng.choice(['PNG', 'JPEG', 'GIF', 'TIFF', 'WEBP'])
  image.convert(rng.choice(['RGB', 'L', '1'])).save(data, kind)
  return torture.mangled(rng, data.getvalue())


def batch(rng):
  data = np.zeros((2, 3072), np.uint8)
  table = {b'data': data, b'labels': [0, rng.randrange(12)]}
  return torture.mangled(rng, archives_test.pickled(table))


def rows(rng):
  return torture.mangled(rng, ROWS.encode())


def lines(rng):
  made = (published_test.mutated(rng, rng.choice(USUAL)) for _ in range(3))
  return torture.mangled(rng, '\n'.join(map(json.dumps, made)).encode())


def read_genotype(path):
  found = published.find(str(path))
  path.write_text(json.dumps(found.fields))
  if published.find(str(path)) != found:
    raise AssertionError('it is another once written and read')


def read_string(path):
  string = path.read_bytes().decode(errors='replace')
  if string.isdecimal() or string.startswith('|'):
    published.find(string)
  nasbench201.parse(string)


def read_images(path):
  sources.find('arrays', str(path))


def read_picture(path):
  decode.every([(path.name, lambda: path.open('rb'))])


def read_batch(path):
  archives.load('cifar10', path.parent, 'test')


def read_named(path):
  npz.read(path, ('images', 'labels'))


# How a file is made, its name, what reads it, what it may raise.
READERS: tuple[tuple[Callable, str, Callable, type[Exception]], ...] = (
  (genotype, 'genotype.json', read_genotype, errors.BadInput),
  (foreign, 'genotypes.py', read_genotype, errors.BadInput),
  (architecture, 'architecture', read_string, errors.BadInput),
  (arrays, 'images.npz', read_named, ValueError),
  (arrays, 'images.npz', npz.read, ValueError),
  (arrays, 'images.npz', read_images, errors.BadInput),
  (arrays, 'alphas.npz', artifacts.read_arrays, errors.BadInput),
  (picture, 'picture', read_picture, errors.BadInput),
  (batch, 'test_batch', read_batch, errors.BadInput),
  (rows, 'metrics.csv', artifacts.read_rows, errors.BadInput),
  (lines, 'genotypes.jsonl', artifacts.read_lines, errors.BadInput),
  (genotype, 'result.json', artifacts.read_json, errors.BadInput),
)


def outcome(act: Callable[[], object], known: type[Exception]) -> str:
  """'read', 'refused', or a fault."""
  try:
    act()
  except known as error:
    text = str(error)
    return 'refused' if '\n' not in text else f'lines: {text!r}'
  except Exception as error:
    return f'undocumented: {type(error).__name__}: {error}'
  return 'read'


def tortured(
  count: int, seed: int, folder: pathlib.Path
) -> Iterator[tuple[str, str]]:
  """(what was done, what came of it) so many times."""
  rng = random.Random(seed)
  for n in range(count):
    make, name, read, known = READERS[n % len(READERS)]
    content, path = make(rng), folder / name
    path.write_bytes(content)
    came = outcome(functools.partial(read, path), known)
    yield f'{n}: {read.__name__} of {errors.cut(repr(content), 400)}', came


if __name__ == '__main__':
  good = 'read', 'refused'
  sys.exit(torture.main('read files', tortured, count=20_000, good=good))

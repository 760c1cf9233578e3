"""Files of any content: what was written is read, what was changed is named."""

import json

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

from sdnas_jax.runs import artifacts

TEXT = st.text(max_size=8) | st.text(',"\n\r; é', max_size=4)
JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | TEXT | st.floats(allow_nan=False),
  lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
  ),
  max_leaves=8,
)
TYPES = st.sampled_from(['bool', 'int32', 'uint8', 'float32', 'float64'])
NAMES = st.text('abcxyz_', min_size=1, max_size=5)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  """Of a file that each example writes anew."""
  return tmp_path_factory.mktemp('artifacts') / 'file'


@st.composite
def tables(draw):
  """Rows of the same columns."""
  names = draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))
  cells = st.fixed_dictionaries({name: TEXT for name in names})
  return draw(st.lists(cells, min_size=1, max_size=4))


@given(tables())
def test_rows_are_read_as_they_were_written(path, rows):
  artifacts.write_rows(path, rows)
  assert artifacts.read_rows(path) == rows


@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_a_table_keeps_every_digit_of_a_number(path, numbers):
  artifacts.write_rows(path, [{'epoch': 0, 'loss': n} for n in numbers])
  found = [float(row['loss']) for row in artifacts.read_rows(path)]
  np.testing.assert_array_equal(found, numbers)


@given(st.dictionaries(TEXT, JSON, max_size=3), st.lists(JSON, max_size=4))
def test_json_is_read_as_it_was_written(path, value, lines):
  artifacts.write_json(path, value)
  assert artifacts.read_json(path) == value
  artifacts.write_lines(path, lines)
  assert artifacts.read_lines(path) == lines


ARRAYS = arrays.arrays(TYPES, arrays.array_shapes(min_dims=0, min_side=0))


@given(st.dictionaries(NAMES, ARRAYS, max_size=3))
def test_arrays_are_read_as_they_were_written(path, tables):
  artifacts.write_arrays(path, tables)
  found = artifacts.read_arrays(path)
  assert list(found) == list(tables)
  for name, table in tables.items():
    assert found[name].dtype == table.dtype
    np.testing.assert_array_equal(found[name], table)


FILES = 'metrics.csv', 'alphas.npz', 'result.json', 'report.html', 'curves.png'
UNSEALED = 'report.html'  # is made again at any time


def flip(path, at, bits):
  """Changes a byte; returns what the file was."""
  content = bytearray(before := path.read_bytes())
  content[at % len(content)] ^= bits
  path.write_bytes(content)
  return before


@given(
  st.dictionaries(st.sampled_from(FILES), st.binary(min_size=1), min_size=1),
  st.integers(0, 199),
  st.integers(1, 255),
)
def test_a_flipped_byte_is_named(tmp_path_factory, contents, at, bits):
  """In each file in turn; in the seal itself, unless it says the same."""
  folder = tmp_path_factory.mktemp('sealed')
  for name, content in contents.items():
    (folder / name).write_bytes(content)
  artifacts.seal(folder)
  for name in contents:
    assert artifacts.broken(folder) == []
    before = flip(folder / name, at, bits)
    assert artifacts.broken(folder) == [name] * (name != UNSEALED)
    (folder / name).write_bytes(before)
  seal = folder / artifacts.SEAL
  sums = json.loads(flip(seal, at, bits))
  assert artifacts.broken(folder) or artifacts.read_json(seal) == sums

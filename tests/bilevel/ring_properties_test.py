"""The memory after any pushes against what lists of them say."""

import functools

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from sdnas_jax.bilevel import teachers

EXAMPLES, ROWS, CLASSES = 5, 3, 2
PADDING = EXAMPLES, EXAMPLES + 2, 2**31 - 1


def mean(past, teachers):
  return np.mean(past[-teachers:], 0) if past else None


def then(past, epochs):
  return past[-epochs] if len(past) >= epochs else None


def averaged(past, decay):
  """The weighted mean: each record counts `decay` times the one after it.

  The first, which the average starts from, counts as all before it would.
  """
  ages = np.arange(len(past))[::-1]
  own = np.where(ages < len(past) - 1, 1 - decay, 1.0) * decay**ages
  return own @ np.array(past) if past else None


def rows(each=1):
  return {'min_size': ROWS * each, 'max_size': ROWS * each}


@st.composite
def batches(draw):
  """Three rows: examples, none twice, and padding; and what is said of each."""
  order = draw(st.permutations(range(EXAMPLES)))
  padding = draw(st.lists(st.sampled_from((None, None, *PADDING)), **rows()))
  index = [n if p is None else p for n, p in zip(order, padding, strict=False)]
  said = st.lists(st.integers(0, 8), **rows(CLASSES))
  return index, np.reshape(draw(said), (ROWS, CLASSES)) / 8


@functools.cache
def step(teacher):
  """What it reads of a batch, and the memory with what is said of it."""

  def run(memory, index, said):
    taught = teacher.read(memory, index, None)
    return taught, teacher.push(memory, index, said, None)

  return jax.jit(run)


# Reads every example, and a padded row, at the end.
LAST = [([0, 1, 2], np.zeros((3, 2))), ([3, 4, 5], np.zeros((3, 2)))]


@pytest.mark.parametrize(
  'make, number, expected',
  [
    (teachers.window, 1, mean),
    (teachers.window, 3, mean),
    (teachers.lag, 1, then),
    (teachers.lag, 2, then),
    (teachers.ema, 0.25, averaged),
  ],
)
@settings(max_examples=25)
@given(st.lists(batches(), max_size=12))
def test_a_teacher_is_what_lists_of_records_say(make, number, expected, pushes):
  """Of batches that miss examples, in any order, with padding anywhere."""
  teacher, past = make(number), {n: [] for n in range(EXAMPLES)}
  memory = teacher.init(EXAMPLES, CLASSES, None)
  for index, said in pushes + LAST:
    found, memory = step(teacher)(memory, np.int32(index), np.float32(said))
    for n, taught, known in zip(index, *found, strict=True):
      due = expected(past.get(n, []), number)
      assert bool(known) == (due is not None)
      if known:
        np.testing.assert_allclose(taught, due, rtol=1e-5)
    for n, record in zip(index, said, strict=True):
      past.get(n, []).append(record)
  np.testing.assert_array_equal(memory.count, [*map(len, past.values())])

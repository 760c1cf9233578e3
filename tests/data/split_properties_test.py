"""Batches of any size, and orders of any labels."""

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
import jax
import numpy as np

from sdnas_jax.data import split


@given(st.integers(1, 40), st.integers(1, 50), st.randoms())
def test_blocks_are_the_indices_in_their_order_and_padding(
  examples, size, random
):
  """As many batches as slices of that size."""
  index = random.sample(range(examples), examples)
  slices = [index[n : n + size] for n in range(0, examples, size)]
  found = np.asarray(split.blocks(np.array(index), examples, size)).tolist()
  assert split.batches(examples, size) == len(slices)
  padding = [examples] * (size - len(slices[-1]))
  assert found == [*slices[:-1], slices[-1] + padding]


@given(st.sampled_from([1, 2, 13]), st.integers(1, 15), st.integers(0, 99))
def test_an_epoch_visits_every_example_once(examples, size, seed):
  half = split.Split(None, np.zeros(examples, np.int32))
  order = np.asarray(split.order(jax.random.key(seed), half, size)).ravel()
  assert sorted(order[order < examples]) == list(range(examples))
  assert (order[examples:] == examples).all() and len(order) % size == 0


@given(
  st.dictionaries(st.integers(0, 99), st.integers(1, 30), min_size=1),
  st.integers(0, 99),
  st.randoms(),
)
@example({0: 100, **dict.fromkeys(range(1, 10), 1)}, 0, None)
def test_every_beginning_has_its_share_of_every_class(sizes, seed, random):
  """The furthest that a class is off by, over all beginnings.

  It is counted label by label.
  """
  labels = [label for label, count in sizes.items() for _ in range(count)]
  if random:
    random.shuffle(labels)
  order = split.stratified(np.array(labels), seed)
  assert sorted(order) == list(range(len(labels)))
  assert order.tolist() == split.stratified(np.array(labels), seed).tolist()
  had = dict.fromkeys(sizes, 0)
  for n, label in enumerate((labels[k] for k in order), 1):
    had[label] += 1
    for name, count in sizes.items():
      times = count * len(sizes) / len(labels)  # the mean class
      off = abs(had[name] - count * n / len(labels))
      assert off <= (1 + times) / 2 + 1e-9
      assert off <= 1.5 or times > 2

"""Shapley values by orders of removal against their definition."""

import itertools
import math

import numpy as np

from sdnas_jax.methods import contribution

MASK = {'cell': np.ones((1, 4), bool)}
MIX = {'cell': np.full((1, 4), 0.25)}
COUNT = 4


def game(seed=0):
  """The worth of each set of operations; larger ones are not always better."""
  rng = np.random.default_rng(seed)
  subsets = itertools.product((False, True), repeat=COUNT)
  return {there: rng.random() for there in subsets}


def look(worth):
  return lambda mix, n: worth[tuple((mix['cell'][0] > 0).tolist())]


def exact(worth):
  """phi_i = sum_S |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))."""
  found = np.zeros(COUNT)
  for there, value in worth.items():
    size = sum(there)
    for i in np.flatnonzero(~np.array(there)):
      more = tuple(t or k == i for k, t in enumerate(there))
      share = math.factorial(size) * math.factorial(COUNT - size - 1)
      found[i] += share / math.factorial(COUNT) * (worth[more] - value)
  return found


def test_all_orders_give_the_exact_values():
  worth, orders = game(), np.array([*itertools.permutations(range(COUNT))])
  values = contribution.table(MIX, MASK, orders, look(worth), threshold=0.0)
  np.testing.assert_allclose(values.mean(axis=1), exact(worth), atol=1e-12)
  # Efficiency, in each order: all that there is to lose is lost once.
  whole = worth[(True,) * COUNT] - worth[(False,) * COUNT]
  np.testing.assert_allclose(values.sum(axis=0), whole, atol=1e-12)


def test_random_orders_come_near():
  worth = game(1)
  orders = contribution.orders(np.random.default_rng(0), MASK, 4000)
  assert all(sorted(order) == [*range(COUNT)] for order in orders)
  values = contribution.table(MIX, MASK, orders, look(worth), threshold=0.0)
  error = values.std(axis=1) / math.sqrt(len(orders))
  assert (np.abs(values.mean(axis=1) - exact(worth)) < 4 * error).all()


def test_where_all_are_equal_none_moves():
  alphas = {'cell': np.ones((1, 4), np.float32)}
  own = {'sums': {'cell': np.zeros((1, 4), np.float32)}}
  arch = contribution.method.Arch(alphas, MASK, own)
  after = contribution.moved(arch, np.full(4, 0.3), 0.8, 0.1)
  np.testing.assert_array_equal(after.alphas['cell'], alphas['cell'])
  assert after.alphas['cell'].dtype == np.float32

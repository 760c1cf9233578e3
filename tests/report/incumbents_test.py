"""The figure of the searches of a table: what its own objects hold."""

import numpy as np
import pytest

from sdnas_jax.report import figures


def test_means_quartiles_and_what_can_be_reached(drawn):
  runs = np.arange(5.0)[:, None] ** 2 + np.linspace(80, 84, 12)
  found = {
    12: ({'one': runs, 'two': runs - 1}, 97.0),
    200: ({'one': runs}, 99.0),
  }
  png = figures.incumbents(found, best=99.0, dataset='cifar10')
  assert png.startswith(b'\x89PNG')
  left, right = drawn[0].axes
  # The mean of 0, 1, 4, 9, 16 is 6, and their quartiles are 1 and 9.
  one, two, best, limit = left.lines
  for axes, epochs in ((left, 12), (right, 200)):
    assert axes.lines[0].get_xdata().tolist() == [
      epochs * n for n in range(10, 13)
    ]
    np.testing.assert_allclose(axes.lines[0].get_ydata()[-1], 84 + 6)
  assert two.get_ydata()[-1] == pytest.approx(84 + 5)
  band = left.collections[0].get_paths()[0].vertices[:, 1]
  assert band.max() == pytest.approx(84 + 9)
  assert band.min() == pytest.approx(80 + 9 * 4 / 11 + 1)
  assert set(best.get_ydata()) == {99.0} and set(limit.get_ydata()) == {97.0}
  assert len(right.lines) == 2 and one.get_label() == 'one'


def test_a_single_query_is_drawn():
  found = {12: ({'one': np.full((1, 1), 90.0)}, 90.0)}
  png = figures.incumbents(found, best=90.0, dataset='cifar10')
  assert png.startswith(b'\x89PNG')

"""The curves and the strip hold the numbers they were given."""

import numpy as np
import pytest

from sdnas_jax.report import figures


@pytest.mark.parametrize('epochs', [1, 4])
def test_curves(drawn, epochs):
  rng = np.random.default_rng(0)
  names = 'train_loss', 'test_loss', 'train_error', 'test_error'
  table = {name: rng.random(epochs) for name in names}
  rows = [
    {'epoch': str(n), **{name: str(table[name][n]) for name in names}}
    for n in range(epochs)
  ]
  assert figures.curves(rows, figures.TRAINING).startswith(b'\x89PNG')
  (figure,) = drawn
  lines = [line for panel in figure.axes for line in panel.lines]
  for name, line in zip(names, lines, strict=True):
    np.testing.assert_allclose(line.get_ydata(), table[name])
    assert list(line.get_xdata()) == list(range(1, epochs + 1))


def test_strip(drawn):
  rows = [
    {'network': name, 'test_error': error}
    for name, error in [('a', 0.1), ('a', 0.3), ('b', 0.4)]
  ]
  assert figures.strip(rows).startswith(b'\x89PNG')
  (panel,) = drawn[0].axes
  dots, mean, one, same = panel.lines
  assert list(dots.get_xdata()) == [0.1, 0.3]
  np.testing.assert_allclose(mean.get_xdata(), 0.2)
  assert list(one.get_xdata()) == [0.4] and list(one.get_ydata()) == [1]
  assert len(set(dots.get_ydata())) == 2
  np.testing.assert_allclose(same.get_xdata(), 0.4)
  assert [t.get_text() for t in panel.get_yticklabels()] == ['a', 'b']

"""Tests of the picture of the mixing weights."""

import io

from matplotlib import colors
from matplotlib import image
import numpy as np
import pytest

from sdnas_jax.report import alphas
from sdnas_jax.spaces import darts
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space as spaces

SMALL = spaces.Space('small', ('none', 'skip_connect', 'sep_conv_3x3'), nodes=2)


def history(space, epochs, seed=0):
  rng = np.random.default_rng(seed)
  shape = len(space.kinds), epochs, *space.shape
  return dict(zip(space.kinds, rng.normal(size=shape), strict=True))


def pixels(png):
  """[height, width, 3] floats in [0, 1]."""
  return image.imread(io.BytesIO(png), format='png')[..., :3]


def panels(part):
  return [axes for axes in part.axes if axes.get_visible()]


def test_every_weight_of_the_darts_space_is_a_point_of_its_line(drawn):
  tables = history(darts.SPACE, epochs=4)
  alphas.draw(tables, darts.SPACE)
  (figure,) = drawn
  assert len(figure.subfigs) == 2
  for part, kind in zip(figure.subfigs, ('normal', 'reduce'), strict=True):
    assert part.get_suptitle() == f'{kind} cell'
    powers = np.exp(tables[kind])
    for edge, panel in enumerate(panels(part)):
      for k, line in enumerate(panel.get_lines()):
        expected = powers[:, edge, k] / powers[:, edge].sum(axis=1)
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        assert line.get_label() == darts.SPACE.primitives[k]
      assert k == 7
    assert edge == 13


def test_panels_are_named_by_their_edges(drawn):
  alphas.draw(history(darts.SPACE, epochs=1), darts.SPACE)
  for part in drawn[0].subfigs:
    titles = [panel.get_title() for panel in panels(part)]
    assert [title.replace('$', '') for title in titles] == [
      'c_{k-2} → 0',
      'c_{k-1} → 0',
      'c_{k-2} → 1',
      'c_{k-1} → 1',
      '0 → 1',
      'c_{k-2} → 2',
      'c_{k-1} → 2',
      '0 → 2',
      '1 → 2',
      'c_{k-2} → 3',
      'c_{k-1} → 3',
      '0 → 3',
      '1 → 3',
      '2 → 3',
    ]


def test_one_legend_names_the_primitives_each_in_a_style_of_its_own(drawn):
  png = alphas.draw(history(darts.SPACE, epochs=3), darts.SPACE)
  (figure,) = drawn
  assert not any(part.legends for part in figure.subfigs)
  (legend,) = figure.legends
  texts = tuple(text.get_text() for text in legend.get_texts())
  assert texts == darts.SPACE.primitives
  lines = legend.get_lines()
  assert len({line.get_color() for line in lines}) == 8
  assert [line.get_linestyle() for line in lines] == ['--'] + ['-'] * 7
  red, green, blue = colors.to_rgb(lines[0].get_color())
  assert red == green == blue
  for line in lines:
    near = np.abs(pixels(png) - colors.to_rgb(line.get_color())).max(axis=-1)
    assert (near < 0.02).sum() > 100


def test_all_panels_have_the_same_axes(drawn):
  tables = history(SMALL, epochs=5)
  tables['reduce'][:, 3, 1] = 4
  alphas.draw(tables, SMALL)
  shown = [p for part in drawn[0].subfigs for p in panels(part)]
  assert len(shown) == 10
  assert len({(p.get_xlim(), p.get_ylim()) for p in shown}) == 1
  low, high = shown[0].get_ylim()
  assert low == 0
  assert high > max(line.get_ydata().max() for p in shown for line in p.lines)


@pytest.mark.parametrize('epochs', [1, 2, 50])
def test_any_number_of_epochs_shows(epochs):
  tables = history(SMALL, epochs)
  # The same weights on other edges: only the marks in the panels may differ.
  turned = {kind: table[:, ::-1] for kind, table in tables.items()}
  first, second = (pixels(alphas.draw(t, SMALL)) for t in (tables, turned))
  assert first.shape == second.shape
  assert min(first.shape[:2]) > 300
  assert (np.abs(first - second).max(axis=-1) > 0.2).sum() > 100


def test_the_ticks_of_a_single_epoch_are_whole(drawn):
  alphas.draw(history(SMALL, epochs=1), SMALL)
  for panel in panels(drawn[0].subfigs[0]):
    low, high = panel.get_xlim()
    assert [t for t in panel.get_xticks() if low <= t <= high] == [1]


def test_large_alphas_neither_overflow_nor_vanish(drawn):
  tables = {'normal': np.zeros((2, *SMALL.shape))}
  tables['normal'][:, :, 1] = 1e4
  alphas.draw(tables, SMALL)
  for panel in panels(drawn[0].subfigs[0]):
    weights = [list(line.get_ydata()) for line in panel.get_lines()]
    assert weights == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize('shape', [(2, 4, 3), (2, 6, 3), (2, 5, 2), (2, 5, 4)])
def test_a_table_of_another_space_raises(shape):
  with pytest.raises(ValueError, match='broadcast'):
    alphas.draw({'normal': np.zeros(shape)}, SMALL)


def test_a_space_of_one_input_and_one_kind_of_cell(drawn):
  space = nasbench201.SPACE
  png = alphas.draw(history(space, epochs=3), space)
  (part,) = drawn[0].subfigs
  assert part.get_suptitle() == 'cell'
  titles = [p.get_title().replace('$', '') for p in panels(part)]
  assert titles == [
    *('c_{k-1} → 0', 'c_{k-1} → 1', '0 → 1'),
    *('c_{k-1} → 2', '0 → 2', '1 → 2'),
  ]
  edge = pixels(png)[:, [0, -1]]
  assert (edge == 1).all()  # nothing is cut off

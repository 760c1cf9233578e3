"""The figure of several runs: what it shows, from its own objects."""

import struct

import numpy as np
import pytest

from sdnas_jax.report import figures


def rows():
  return [
    {'method': m, 'seed': s, 'epoch': e, 'x': base + s + e, 'y': -e}
    for m, base in (('A', 0.0), ('B', 10.0))
    for s in range(3)
    for e in (1, 3)
  ]


def test_means_and_bands_of_every_panel(drawn):
  png = figures.spread(rows(), ['x', 'y'], marks={'begins': 2})
  assert png.startswith(b'\x89PNG')
  panels = drawn[-1].axes
  assert [panel.get_title() for panel in panels] == ['x', 'y']
  lines = {line.get_label(): line for line in panels[0].lines}
  # Epochs count from 1; at 1 and 3 the mean over seeds 0, 1, 2 adds 1.
  assert lines['A'].get_xydata().tolist() == [[2, 2], [4, 4]]
  assert lines['B'].get_xydata().tolist() == [[2, 12], [4, 14]]
  assert lines['begins'].get_xdata() == pytest.approx([2, 2])
  band = panels[0].collections[0].get_paths()[0].vertices
  np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [1, 5])
  assert len(panels[0].lines) == 2 * (3 + 1) + 1


def test_one_run_has_no_band(drawn):
  figures.spread([row for row in rows() if row['seed'] == 0], ['x'])
  assert not drawn[-1].axes[0].collections


def test_a_field_s_values_are_where_they_are(drawn):
  pairs = [(2, 0, 0.5), (1, 0, 0.25), (2, 1, 0.75), (1, 1, 0.75)]
  rows = [
    {'method': 'mean', 'seed': seed, 'teachers': value, 'accuracy': share}
    for value, seed, share in pairs
  ]
  figures.spread(rows, ['accuracy'], 'teachers')
  (panel,) = drawn[-1].axes
  one, other, mean = panel.lines
  assert one.get_xydata().tolist() == [[2, 0.5], [1, 0.25]]
  assert other.get_xydata().tolist() == [[2, 0.75], [1, 0.75]]
  assert mean.get_xydata().tolist() == [[1, 0.5], [2, 0.625]]
  band = panel.collections[0].get_paths()[0].vertices
  assert band[:, 1].min() == pytest.approx(0.5 - 0.5 / np.sqrt(2))
  assert panel.get_xlabel() == 'teachers'
  assert all(tick == round(tick) for tick in panel.get_xticks())


def size(methods):
  rows = [
    {'method': f'sd_proxylessnas{m}', 'seed': 0, 'epoch': e, 'loss': m + e}
    for m in range(methods)
    for e in range(2)
  ]
  picture = figures.spread(rows, ['loss'])  # a warning would be an error
  return struct.unpack('>II', picture[16:24])  # as PNG has them


def test_names_of_many_methods_stand_below():
  few, many = size(len(figures.COLOURS)), size(64)
  assert few == (4 * 130, int(3.2 * 130))
  assert many[0] == few[0] and many[1] > 2 * few[1]

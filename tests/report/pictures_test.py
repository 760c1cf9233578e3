"""Landscapes, spectra and heat maps: what their own objects hold."""

import numpy as np
import pytest

from sdnas_jax.report import figures


def landscape(seed):
  rng = np.random.default_rng(seed)
  names = [f'{of}_{k}' for of in figures.GROUPS for k in ('loss', 'accuracy')]
  found = {name: rng.random((5, 5)) for name in names}
  return {'steps': np.linspace(-1, 1, 5), **found}


def test_the_cuts_go_through_the_middle_and_the_planes_share_a_scale(drawn):
  runs = {'A': landscape(0), 'B': landscape(1)}
  assert figures.landscape(runs).startswith(b'\x89PNG')
  panels = [p for p in drawn[0].axes if p.get_title()]
  assert len(panels) == 2 * 4
  for row, of in zip((panels[:4], panels[4:]), figures.GROUPS, strict=True):
    planes = [panel.collections[0] for panel in row[:2]]
    tables = [run[f'{of}_loss'] for run in runs.values()]
    assert planes[0].get_clim() == planes[1].get_clim()
    assert planes[0].get_clim() == pytest.approx(
      (np.min(tables), np.max(tables))
    )
    for panel, what in zip(row[2:], ('loss', 'accuracy'), strict=True):
      lines = [line.get_ydata() for line in panel.lines]
      expected = [
        cut
        for run in runs.values()
        for cut in (run[f'{of}_{what}'][:, 2], run[f'{of}_{what}'][2])
      ]
      np.testing.assert_array_equal(lines, expected)
      assert panel.lines[0].get_label() == 'A'


@pytest.mark.parametrize('value', [2.3, 0.0, np.nan])
def test_a_landscape_that_is_flat_or_lost_is_drawn(value):
  flat = {
    name: np.full_like(table, value, np.float32) if name != 'steps' else table
    for name, table in landscape(0).items()
  }
  assert figures.landscape({'flat': flat}).startswith(b'\x89PNG')
  flat['weights_loss'][0, 0] = np.inf
  assert figures.landscape({'flat': flat}).startswith(b'\x89PNG')
  row = {'eigenvalue': value, 'share': 1.0}
  assert figures.spectrum({'flat': [row]}).startswith(b'\x89PNG')


def test_the_bars_of_a_spectrum_sum_the_shares(drawn):
  rows = [
    {'eigenvalue': '-1.0', 'share': '0.25'},
    {'eigenvalue': '1.0', 'share': '0.5'},
    {'eigenvalue': '1.99', 'share': '0.125'},
    {'eigenvalue': '2.0', 'share': '0.125'},
  ]
  figures.spectrum({'A': rows, 'B': rows[:1]})
  one, other = drawn[0].axes
  heights = [bar.get_height() for bar in one.patches]
  assert sum(heights) == 1 and heights[0] == 0.25 and heights[-1] == 0.25
  assert heights[40] == 0.5  # 60 bins of 0.05 from -1
  assert sum(bar.get_height() for bar in other.patches) == 0.25
  assert one.get_xlim() == other.get_xlim() and 'largest 2' in one.get_title()


def test_every_architecture_ranked_is_a_dot_and_its_skips_the_colour(drawn):
  parts = {'all': np.random.default_rng(0).random((9, 3))}
  parts['all'][:, 2] = 0, 1, 2, 3, 4, 5, 6, 6, 0
  parts['one'] = parts['all'][:1]
  assert figures.scatter(parts).startswith(b'\x89PNG')
  for panel, (title, part) in zip(drawn[0].axes, parts.items(), strict=False):
    assert panel.get_title() == title
    (dots,) = panel.collections
    np.testing.assert_array_equal(dots.get_offsets(), part[:, :2])
    np.testing.assert_array_equal(dots.get_array(), part[:, 2])
  colours = {tuple(c) for c in drawn[0].axes[0].collections[0].get_facecolor()}
  assert len(colours) == 7

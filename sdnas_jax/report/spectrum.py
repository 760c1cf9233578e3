"""Draws the eigenvalues of Hessians.

>>> from sdnas_jax.report import spectrum
>>> spectrum.draw({'mine': [{'eigenvalue': 0.5, 'share': 1.0}]})[1:4]
b'PNG'
"""

from collections.abc import Mapping
from collections.abc import Sequence

from matplotlib import figure
import numpy as np

from sdnas_jax.report import figures

_BINS = 60


def draw(runs: Mapping[str, Sequence[Mapping[str, float | str]]]) -> bytes:
  """Draws a panel a run: the share of the eigenvalues in each of 60 bins.

  Args:
    runs: by name, each rows with an `eigenvalue` and its `share` of all; what
      is not finite is left out.

  Returns:
    A PNG. All panels have one scale; the shares' is logarithmic.
  """
  pairs = {
    name: np.array([[row['eigenvalue'], row['share']] for row in rows], float)
    for name, rows in runs.items()
  }
  pairs = {name: t[np.isfinite(t[:, 0])] for name, t in pairs.items()}
  values = np.concatenate([[0.0], *(t[:, 0] for t in pairs.values())])
  size = 7, 0.8 + 1.6 * len(runs)
  picture = figure.Figure(size, dpi=130, layout='constrained')
  panels = picture.subplots(len(runs), 1, squeeze=False, sharex=True)[:, 0]
  span = values.min(), max(values.max(), values.min() + 1e-9)
  for panel, (name, table) in zip(panels, pairs.items(), strict=True):
    if len(table):
      heights = table[:, 1]
      panel.hist(
        table[:, 0], _BINS, range=span, weights=heights, color='#0072B2'
      )
      panel.set_yscale('log')
      panel.set_ylim(bottom=heights.min() / 2)  # or the lowest bars vanish
    panel.axvline(0, color='0.6', linewidth=0.8)
    largest = max(table[:, 0], default=np.nan)
    panel.set_title(f'{name}: largest {largest:.3g}', fontsize=10)
    panel.set_ylabel('share')
    panel.spines[['top', 'right']].set_visible(False)
  panels[-1].set_xlabel('eigenvalue')
  return figures.png(picture)

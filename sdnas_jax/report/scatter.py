"""Draws how the supernet's accuracy of architectures goes with the true one.

>>> from sdnas_jax.report import scatter
>>> scatter.draw({'mine': np.array([[0.3, 0.9, 1], [0.4, 0.95, 0]])})[1:4]
b'PNG'
"""

from collections.abc import Mapping

from matplotlib import colors
from matplotlib import figure
from matplotlib import ticker
import numpy as np

from sdnas_jax.report import figures
from sdnas_jax.spaces import nasbench201


def draw(parts: Mapping[str, np.ndarray]) -> bytes:
  """Draws a panel for each part of what was ranked.

  Args:
    parts: by title, each [n, 3]: accuracy in the supernet, true accuracy, and
      the number of skip connections, which gives the colour.

  Returns:
    A PNG.
  """
  size = 1 + 3.8 * len(parts), 3.8
  picture = figure.Figure(size, dpi=130, layout='constrained')
  panels = picture.subplots(1, len(parts), squeeze=False)[0]
  counts = np.arange(len(nasbench201.EDGES) + 1)
  norm = colors.BoundaryNorm(np.arange(len(counts) + 1) - 0.5, 256)
  for panel, (title, part) in zip(panels, parts.items(), strict=True):
    guessed, true, skips = part.T
    dots = panel.scatter(
      guessed, true, 16, skips, norm=norm, cmap='viridis', linewidths=0
    )
    panel.set_title(title, fontsize=10)
    panel.set_xlabel('accuracy in the supernet')
    panel.locator_params(nbins=6)
    for axis in (panel.xaxis, panel.yaxis):
      axis.set_major_formatter(ticker.PercentFormatter(1))
    figures.open_axes(panel)
  panels[0].set_ylabel('true accuracy')
  bar = picture.colorbar(dots, ax=panels, ticks=counts)
  bar.minorticks_off()
  bar.set_label('skip connections')
  return figures.png(picture)

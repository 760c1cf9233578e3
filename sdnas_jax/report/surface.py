"""Draws the loss around where searches ended, in alphas and in weights.

>>> import numpy as np
>>> from sdnas_jax.report import surface
>>> flat, steps = np.ones((3, 3)), np.array([-1.0, 0.0, 1.0])
>>> groups = {f'{of}_loss': flat for of in surface.GROUPS}
>>> groups |= {f'{of}_accuracy': flat for of in surface.GROUPS}
>>> surface.draw({'mine': {'steps': steps, **groups}})[1:4]
b'PNG'
"""

from collections.abc import Mapping

from matplotlib import figure
import numpy as np

from sdnas_jax.report import figures

GROUPS = 'alphas', 'weights'
_LEVELS = 12

Landscape = Mapping[str, np.ndarray]


def draw(runs: Mapping[str, Landscape]) -> bytes:
  """Draws a row a group: the plane of each run, and cuts through all.

  Args:
    runs: by name, each with `steps` [n] and, for the alphas and the weights,
      the loss and the accuracy [n, n] in two directions.

  Returns:
    A PNG. Planes of a group share their colours; a cut is the middle row.
  """
  count = len(runs)
  size = 3.4 * count + 6.4, 3.0 * len(GROUPS)
  picture = figure.Figure(size, dpi=110, layout='constrained')
  widths = [1.0] * count + [0.95, 0.95]
  grid = picture.subplots(len(GROUPS), count + 2, width_ratios=widths)
  for row, of in zip(grid, GROUPS, strict=True):
    tables = np.stack([run[f'{of}_loss'] for run in runs.values()])
    known = tables[np.isfinite(tables)].astype(float)
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    span = max(high - low, 1e-3 * max(abs(low), 1e-3))
    levels = np.linspace(low, low + span, _LEVELS)
    for panel, (name, run) in zip(row, runs.items(), strict=False):
      shown = _plane(panel, run, of, levels)
      panel.set_title(f'{name}: loss over the {of}', fontsize=9)
    bar = picture.colorbar(shown, ax=row[count - 1], format='%.3g')
    bar.ax.tick_params(labelsize=8)
    _cuts(row[count], runs, f'{of}_loss', 'loss')
    _cuts(row[count + 1], runs, f'{of}_accuracy', 'accuracy')
  return figures.png(picture)


def _plane(panel, run, of, levels):
  steps = run['steps']
  # What is not finite stays white.
  loss = np.ma.masked_invalid(run[f'{of}_loss'].T.astype(float))
  shown = panel.contourf(steps, steps, loss, levels)
  panel.plot([0], [0], '+', color='white')
  panel.set_aspect('equal')
  panel.tick_params(labelsize=8)
  return shown


def _cuts(panel, runs, name, what):
  for (run, found), colour in figures.coloured(runs.items()):
    steps, middle = found['steps'], len(found['steps']) // 2
    panel.plot(steps, found[name][:, middle], color=colour, label=run)
    panel.plot(steps, found[name][middle], color=colour, linestyle=':')
  panel.set_title(f'{what} along the first (-) and second (:)', fontsize=9)
  panel.tick_params(labelsize=8)
  figures.open_axes(panel)
  if len(runs) > 1:
    panel.legend(frameon=False, fontsize=8)

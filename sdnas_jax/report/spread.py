"""Draws what several runs of each method measured, epoch by epoch.

>>> from sdnas_jax.report import spread
>>> row = {'method': 'DARTS', 'seed': 0, 'epoch': 1, 'gap': 0.5}
>>> spread.draw([row], ['gap'])[1:4]
b'PNG'
"""

from collections.abc import Mapping
from collections.abc import Sequence
import io
from typing import Any

from matplotlib import figure
from matplotlib import ticker
from matplotlib.backends import backend_agg
import numpy as np

_COLOURS = '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'


def draw(
  rows: Sequence[Mapping[str, Any]],
  names: Sequence[str],
  marks: Mapping[str, int] | None = None,
  best: Mapping[str, float] | None = None,
) -> bytes:
  """Draws a panel a measure: each run faint, each method's mean, its spread.

  Args:
    rows: each with `method`, `seed`, `epoch` and the measures.
    names: the measures.
    marks: epochs to mark, by what begins there.
    best: of some measures, the highest there is.

  Returns:
    A PNG. The band is a standard deviation to either side.
  """
  size = 4 * len(names), 3.2
  picture = figure.Figure(size, dpi=130, layout='constrained')
  panels = picture.subplots(1, len(names), squeeze=False)[0]
  methods = list(dict.fromkeys(row['method'] for row in rows))
  for panel, name in zip(panels, names, strict=True):
    for n, method in enumerate(methods):
      own = [row for row in rows if row['method'] == method]
      _draw(panel, own, name, method, _COLOURS[n % len(_COLOURS)])
    for what, epoch in (marks or {}).items():
      panel.axvline(epoch, color='0.6', linestyle=':', label=what)
    if best and name in best:
      panel.axhline(best[name], color='0.3', linestyle='--', label='optimum')
    panel.set_title(name.replace('_', ' '), fontsize=10)
    panel.set_xlabel('epoch')
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panel.grid(alpha=0.25)
    panel.spines[['top', 'right']].set_visible(False)
  panels[0].legend(frameon=False, fontsize=8)
  png = io.BytesIO()
  backend_agg.FigureCanvasAgg(picture).print_png(png)
  return png.getvalue()


def _draw(panel, rows, name, method, colour):
  """One method's runs, their mean and its band."""
  runs = {}
  for row in rows:
    runs.setdefault(row['seed'], {})[int(row['epoch']) + 1] = row[name]
  for run in runs.values():
    panel.plot(list(run), list(run.values()), color=colour, alpha=0.3, lw=0.8)
  epochs = sorted(set.intersection(*(set(run) for run in runs.values())))
  values = np.array([[run[e] for e in epochs] for run in runs.values()])
  mean, std = values.mean(axis=0), values.std(axis=0, ddof=len(values) > 1)
  panel.plot(epochs, mean, color=colour, lw=2, marker='.', label=method)
  if len(values) > 1:
    panel.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.15)

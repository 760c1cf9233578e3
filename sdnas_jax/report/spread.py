"""Draws what several runs measured, by the epoch or by a field's value.

>>> from sdnas_jax.report import spread
>>> row = {'method': 'DARTS', 'seed': 0, 'epoch': 1, 'gap': 0.5}
>>> spread.draw([row], ['gap'])[1:4]
b'PNG'
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib import figure
from matplotlib import ticker
import numpy as np

from sdnas_jax.report import figures


def draw(
  rows: Sequence[Mapping[str, Any]],
  names: Sequence[str],
  by: str = 'epoch',
  marks: Mapping[str, int] | None = None,
  best: Mapping[str, float] | None = None,
) -> bytes:
  """Draws a panel a measure: each run faint, each method's mean, its spread.

  Args:
    rows: each with `method`, `seed`, the measures, and what they go `by`.
    names: the measures.
    by: the epoch, from 0 on, or another column.
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
    for method, colour in figures.coloured(methods):
      own = [row for row in rows if row['method'] == method]
      _draw(panel, own, by, name, method, colour)
    for what, epoch in (marks or {}).items():
      panel.axvline(epoch, color='0.6', linestyle=':', label=what)
    if best and name in best:
      panel.axhline(best[name], color='0.3', linestyle='--', label='optimum')
    panel.set_title(name.replace('_', ' '), fontsize=10)
    panel.set_xlabel(by)
    if all(isinstance(row[by], int) for row in rows):
      panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    figures.open_axes(panel)
  panels[0].legend(frameon=False, fontsize=8)
  return figures.png(picture)


def _draw(panel, rows, by, name, method, colour):
  """One method's runs, their mean and its band."""
  runs = {}
  for row in rows:
    at = int(row['epoch']) + 1 if by == 'epoch' else row[by]
    runs.setdefault(row['seed'], {})[at] = row[name]
  for run in runs.values():
    panel.plot(list(run), list(run.values()), color=colour, alpha=0.3, lw=0.8)
  shared = sorted(set.intersection(*(set(run) for run in runs.values())))
  values = np.array([[run[x] for x in shared] for run in runs.values()])
  mean, std = values.mean(axis=0), values.std(axis=0, ddof=len(values) > 1)
  panel.plot(shared, mean, color=colour, lw=2, marker='.', label=method)
  if len(values) > 1:
    panel.fill_between(shared, mean - std, mean + std, color=colour, alpha=0.15)

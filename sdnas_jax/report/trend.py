"""Draws how accuracies follow the value of a field.

>>> from sdnas_jax.report import trend
>>> trend.draw([{'value': 1, 'accuracy': 0.9}], 'distill.teachers')[1:4]
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


def draw(rows: Sequence[Mapping[str, Any]], field: str) -> bytes:
  """Draws every run as a dot, and the mean and deviation of each value.

  Args:
    rows: each with a `value` of the field and an `accuracy` in [0, 1].
    field: its name.

  Returns:
    A PNG.
  """
  picture = figure.Figure((6, 3.5), dpi=130, layout='constrained')
  panel = picture.subplots()
  runs = {}
  for row in rows:
    runs.setdefault(row['value'], []).append(row['accuracy'])
  values = sorted(runs)
  means = np.array([np.mean(runs[value]) for value in values])
  spread = np.array([np.std(runs[v], ddof=len(runs[v]) > 1) for v in values])
  panel.fill_between(
    values, means - spread, means + spread, color='#0072B2', alpha=0.15
  )
  panel.plot(values, means, marker='o', color='#0072B2', label='mean')
  for value in values:
    dots = [value] * len(runs[value])
    panel.plot(dots, runs[value], '.', color='#D55E00', alpha=0.6)
  panel.set_xlabel(field)
  panel.set_xticks(values)
  panel.set_ylabel('test accuracy')
  panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=1))
  panel.grid(alpha=0.25)
  panel.spines[['top', 'right']].set_visible(False)
  png = io.BytesIO()
  backend_agg.FigureCanvasAgg(picture).print_png(png)
  return png.getvalue()

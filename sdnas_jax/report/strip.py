"""Draws the errors of several networks side by side, a dot a run.

>>> from sdnas_jax.report import strip
>>> strip.draw([{'network': 'found', 'test_error': 0.05}])[1:4]
b'PNG'
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib import figure
from matplotlib import ticker
import numpy as np

from sdnas_jax.report import figures


def draw(rows: Sequence[Mapping[str, Any]]) -> bytes:
  """Draws a row of dots a network, with their mean as a bar.

  Args:
    rows: each with a `network` and its `test_error` in [0, 1].

  Returns:
    A PNG.
  """
  names = list(dict.fromkeys(row['network'] for row in rows))
  size = 7, 0.8 + 0.5 * len(names)
  picture = figure.Figure(size, dpi=130, layout='constrained')
  panel = picture.subplots()
  for y, name in enumerate(names):
    errors = [row['test_error'] for row in rows if row['network'] == name]
    # Apart, so that equal errors show.
    heights = y + np.linspace(-0.2, 0.2, len(errors) + 2)[1:-1]
    panel.plot(errors, heights, 'o', color='#0072B2', alpha=0.6)
    panel.plot([np.mean(errors)] * 2, [y - 0.3, y + 0.3], color='#D55E00')
  panel.set_yticks(range(len(names)), names)
  panel.set_ylim(len(names) - 0.5, -0.5)
  panel.set_xlabel('test error; bar: mean')
  panel.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=1))
  panel.grid(axis='x', alpha=0.25)
  panel.spines[['top', 'right', 'left']].set_visible(False)
  return figures.png(picture)

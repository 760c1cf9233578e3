"""Draws losses and errors over the epochs of a training.

>>> from sdnas_jax.report import curves
>>> row = {'train_loss': 1.0, 'test_loss': 1.2}
>>> rows = [{**row, 'epoch': 0, 'train_error': 0.5, 'test_error': 0.6}]
>>> curves.draw(rows)[1:4]
b'PNG'
"""

from collections.abc import Mapping
from collections.abc import Sequence
import io
from typing import Any

from matplotlib import figure
from matplotlib import ticker
from matplotlib.backends import backend_agg

_COLOURS = {'train': '#0072B2', 'test': '#D55E00'}


def draw(rows: Sequence[Mapping[str, Any]]) -> bytes:
  """Draws the rows of a metrics.csv.

  Args:
    rows: with an `epoch` and, each a number or its text, `train_loss`,
      `test_loss`, `train_error` and `test_error`, errors in [0, 1].

  Returns:
    A PNG.
  """
  picture = figure.Figure((8, 3), dpi=130, layout='constrained')
  left, right = picture.subplots(1, 2)
  epochs = [int(row['epoch']) + 1 for row in rows]
  for panel, what in ((left, 'loss'), (right, 'error')):
    for part, colour in _COLOURS.items():
      values = [float(row[f'{part}_{what}']) for row in rows]
      panel.plot(
        epochs,
        values,
        color=colour,
        label=part,
        # A single epoch has no line to see.
        marker='.',
        markevery=[-1],
      )
    panel.set_ylabel(what)
    panel.set_xlabel('epoch')
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.25)
    panel.spines[['top', 'right']].set_visible(False)
  right.yaxis.set_major_formatter(ticker.PercentFormatter(1))
  left.legend(frameon=False)
  png = io.BytesIO()
  backend_agg.FigureCanvasAgg(picture).print_png(png)
  return png.getvalue()

"""Draws losses, errors and accuracies over the epochs of a run.

>>> from sdnas_jax.report import curves
>>> row = {'train_loss': 1.0, 'test_loss': 1.2}
>>> rows = [{**row, 'epoch': 0, 'train_error': 0.5, 'test_error': 0.6}]
>>> curves.draw(rows, curves.TRAINING)[1:4]
b'PNG'
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib import figure
from matplotlib import ticker

from sdnas_jax.report import figures

# The columns of each panel.
TRAINING = {
  'loss': ('train_loss', 'test_loss'),
  'error': ('train_error', 'test_error'),
}
SEARCH = {
  'loss': ('train_loss', 'valid_loss', 'distill_loss'),
  'accuracy': ('train_accuracy', 'valid_accuracy'),
}


def draw(
  rows: Sequence[Mapping[str, Any]], panels: Mapping[str, Sequence[str]]
) -> bytes:
  """Draws the rows of a metrics.csv.

  Args:
    rows: with an `epoch` and the columns, each a number or its text.
    panels: the columns of each panel, by its name; all but a `loss` is a share
      of 1.

  Returns:
    A PNG.
  """
  picture = figure.Figure((8, 3), dpi=130, layout='constrained')
  row = picture.subplots(1, len(panels), squeeze=False)[0]
  epochs = [int(row['epoch']) + 1 for row in rows]
  for panel, (what, columns) in zip(row, panels.items(), strict=True):
    for name, colour in figures.coloured(columns):
      values = [float(row[name]) for row in rows]
      panel.plot(
        epochs,
        values,
        color=colour,
        label=name.split('_')[0],
        # A single epoch has no line to see.
        marker='.',
        markevery=[-1],
      )
    panel.set_ylabel(what)
    panel.set_xlabel('epoch')
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panel.set_ylim(bottom=0)
    figures.open_axes(panel)
    if what != 'loss':
      panel.yaxis.set_major_formatter(ticker.PercentFormatter(1))
  row[0].legend(frameon=False)
  return figures.png(picture)

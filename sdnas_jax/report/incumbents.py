"""Draws the best test accuracy that searches of a table found, over the cost.

>>> import numpy as np
>>> from sdnas_jax.report import incumbents
>>> panel = incumbents.Panel({'mine': np.full((2, 3), 93.0)}, limit=94.0)
>>> incumbents.draw({12: panel}, best=94.4, dataset='cifar10')[1:4]
b'PNG'
"""

from collections.abc import Mapping
from typing import NamedTuple

from matplotlib import ticker
import numpy as np

from sdnas_jax.report import figures


class Panel(NamedTuple):
  """What searches found that all see the same validation accuracy."""

  runs: Mapping[str, np.ndarray]  # [repeats, queries] test accuracy, %
  limit: float  # %, of the cell that they would choose of all


def draw(panels: Mapping[int, Panel], best: float, dataset: str) -> bytes:
  """Draws a panel a number of epochs: means, and bands between the quartiles.

  Args:
    panels: by the epochs that a query costs.
    best: the highest test accuracy there is, in %.
    dataset: what was classified.

  Returns:
    A PNG.
  """
  size = 0.6 + 4.6 * len(panels), 3.6
  picture, row = figures.panels(len(panels), *size, sharex=True, sharey=True)
  for axes, (epochs, panel) in zip(row, panels.items(), strict=True):
    _draw(axes, epochs, panel, best)
  low = min(
    np.quantile(runs[:, _shown(runs)], 0.25, axis=0).min()
    for panel in panels.values()
    for runs in panel.runs.values()
  )
  row[0].set_ylim(low, best + 0.06 * max(best - low, 0.1))
  row[0].yaxis.set_major_formatter(ticker.PercentFormatter(decimals=1))
  row[0].set_ylabel(f'test accuracy on {dataset}')
  return figures.png(picture)


def _shown(runs):
  """The queries drawn: the first few would take all of the height."""
  return slice(min(9, runs.shape[1] - 1), None)


def _draw(axes, epochs, panel, best):
  """Each search's mean and quartiles, and what they can reach."""
  for (name, runs), colour in figures.coloured(panel.runs.items()):
    shown = _shown(runs)
    spent = epochs * np.arange(1, runs.shape[1] + 1)[shown]
    low, high = np.quantile(runs[:, shown], (0.25, 0.75), axis=0)
    axes.fill_between(spent, low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(spent, runs[:, shown].mean(axis=0), color=colour, label=name)
  axes.axhline(best, color='0.3', lw=1, ls='--', label='best there is')
  if panel.limit < best:
    label = 'best by what is seen'
    axes.axhline(panel.limit, color='0.3', lw=1, ls=':', label=label)
  axes.set_title(f'seeing validation after {epochs} epochs', fontsize=10)
  axes.set_xlabel('training epochs spent')
  axes.set_xscale('log')
  figures.open_axes(axes)
  axes.legend(frameon=False, fontsize=8, loc='lower right')

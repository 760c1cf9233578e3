"""What runs measured, drawn; each figure is returned as a PNG.

>>> from sdnas_jax.report import figures
>>> row = {'train_loss': 1.0, 'test_loss': 1.2}
>>> rows = [{**row, 'epoch': 0, 'train_error': 0.5, 'test_error': 0.6}]
>>> figures.curves(rows, figures.TRAINING)[1:4]
b'PNG'
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import io
import itertools
import math
from typing import Any

from matplotlib import axes
from matplotlib import colors
from matplotlib import figure
from matplotlib import ticker
from matplotlib.backends import backend_agg
import numpy as np

from sdnas_jax.spaces import nasbench201

# Okabe and Ito's, which the colour-blind tell apart; yellow is too faint.
BLUE, VERMILION, GREEN = '#0072B2', '#D55E00', '#009E73'
PURPLE, ORANGE, SKY = '#CC79A7', '#E69F00', '#56B4E9'
COLOURS = BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY
# The columns of each panel of curves.
TRAINING = {
  'loss': ('train_loss', 'test_loss'),
  'error': ('train_error', 'test_error'),
}
SEARCH = {
  'loss': ('train_loss', 'valid_loss', 'distill_loss'),
  'accuracy': ('train_accuracy', 'valid_accuracy'),
}
# How a line ends: a single epoch has none to see.
LAST = {'marker': '.', 'markevery': [-1]}
GROUPS = 'alphas', 'weights'  # of a landscape
_BINS, _LEVELS = 60, 12


def coloured(each: Iterable[Any]) -> Iterator[tuple[Any, str]]:
  """Each with a colour of its own, while there are others."""
  return zip(each, itertools.cycle(COLOURS), strict=False)


def open_axes(panel: axes.Axes) -> None:
  """Draws a faint grid, and no frame above and to the right."""
  panel.grid(alpha=0.25)
  panel.spines[['top', 'right']].set_visible(False)


def panels(
  count: int, width: float, height: float, **shared: Any
) -> tuple[figure.Figure, np.ndarray]:
  """A figure, its size in inches, of open panels [count] side by side."""
  picture = figure.Figure((width, height), dpi=130, layout='constrained')
  row = picture.subplots(1, count, squeeze=False, **shared)[0]
  for panel in row:
    open_axes(panel)
  return picture, row


def png(picture: figure.Figure) -> bytes:
  """The figure, as a PNG."""
  content = io.BytesIO()
  backend_agg.FigureCanvasAgg(picture).print_png(content)
  return content.getvalue()


def curves(
  rows: Sequence[Mapping[str, Any]], shown: Mapping[str, Sequence[str]]
) -> bytes:
  """Draws losses, errors and accuracies over the epochs of a run.

  Args:
    rows: of a metrics.csv, with an `epoch` and the columns, each a number or
      its text.
    shown: the columns of each panel, by its name; all but a `loss` is a share
      of 1.
  """
  picture, row = panels(len(shown), 8, 3)
  epochs = [int(row['epoch']) + 1 for row in rows]
  for panel, (what, columns) in zip(row, shown.items(), strict=True):
    for name, colour in coloured(columns):
      values = [float(row[name]) for row in rows]
      panel.plot(epochs, values, color=colour, label=name.split('_')[0], **LAST)
    panel.set_ylabel(what)
    panel.set_xlabel('epoch')
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panel.set_ylim(bottom=0)
    if what != 'loss':
      panel.yaxis.set_major_formatter(ticker.PercentFormatter(1))
  row[0].legend(frameon=False)
  return png(picture)


def spread(
  rows: Sequence[Mapping[str, Any]],
  names: Sequence[str],
  by: str = 'epoch',
  marks: Mapping[str, int] | None = None,
  best: Mapping[str, float] | None = None,
) -> bytes:
  """Draws what several runs measured, by the epoch or by a field's value.

  A panel a measure: each run faint, each method's mean, and a band of a
  standard deviation to either side.

  Args:
    rows: each with `method`, `seed`, the measures, and what they go `by`.
    names: the measures.
    by: the epoch, from 0 on, or another column.
    marks: epochs to mark, by what begins there.
    best: of some measures, the highest there is.
  """
  methods = list(dict.fromkeys(row['method'] for row in rows))
  # More than these leave a panel no room beside their names.
  many, abreast = len(methods) > len(COLOURS), 2 * len(names)
  below = 0.18 * math.ceil(len(methods) / abreast) if many else 0
  picture, row = panels(len(names), 4 * len(names), 3.2 + below)
  for panel, name in zip(row, names, strict=True):
    for method, colour in coloured(methods):
      own = [row for row in rows if row['method'] == method]
      _band(panel, own, by, name, method, colour)
    for what, epoch in (marks or {}).items():
      panel.axvline(epoch, color='0.6', linestyle=':', label=what)
    if best and name in best:
      panel.axhline(best[name], color='0.3', linestyle='--', label='optimum')
    panel.set_title(name.replace('_', ' '), fontsize=10)
    panel.set_xlabel(by)
    if all(isinstance(row[by], int) for row in rows):
      panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  legend = {'frameon': False, 'fontsize': 8}
  if many:
    told = row[0].get_legend_handles_labels()
    picture.legend(*told, loc='outside lower center', ncols=abreast, **legend)
  else:
    row[0].legend(**legend)
  return png(picture)


def _band(panel, rows, by, name, method, colour):
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


def incumbents(
  found: Mapping[int, tuple[Mapping[str, np.ndarray], float]],
  best: float,
  dataset: str,
) -> bytes:
  """Draws the best test accuracy that searches of a table found, by their cost.

  A panel a number of epochs: each search's mean, and a band between quartiles.

    >>> runs = {'mine': np.full((2, 3), 93.0)}  # 2 repeats of 3 queries
    >>> incumbents({12: (runs, 94.0)}, best=94.4, dataset='cifar10')[1:4]
    b'PNG'

  Args:
    found: by the epochs that a query costs, of searches that see the validation
      accuracy after these: each one's test accuracy [repeats, queries], and
      that of the cell that they would choose of all; in %.
    best: the highest there is, in %.
    dataset: what was classified.
  """
  size = 0.6 + 4.6 * len(found), 3.6
  picture, row = panels(len(found), *size, sharex=True, sharey=True)
  lowest = best
  for panel, (epochs, (runs, limit)) in zip(row, found.items(), strict=True):
    for (name, table), colour in coloured(runs.items()):
      # The first few queries would take all of the height.
      first = min(10, table.shape[1])
      spent = epochs * np.arange(first, table.shape[1] + 1)
      shown = table[:, first - 1 :]
      low, high = np.quantile(shown, (0.25, 0.75), axis=0)
      lowest = min(lowest, low.min())
      panel.fill_between(spent, low, high, color=colour, alpha=0.15, lw=0)
      panel.plot(spent, shown.mean(axis=0), color=colour, label=name)
    panel.axhline(best, color='0.3', lw=1, ls='--', label='best there is')
    if limit < best:
      label = 'best by what is seen'
      panel.axhline(limit, color='0.3', lw=1, ls=':', label=label)
    panel.set_title(f'seeing validation after {epochs} epochs', fontsize=10)
    panel.set_xlabel('training epochs spent')
    panel.set_xscale('log')
    panel.legend(frameon=False, fontsize=8, loc='lower right')
  row[0].set_ylim(lowest, best + 0.06 * max(best - lowest, 0.1))
  row[0].yaxis.set_major_formatter(ticker.PercentFormatter(decimals=1))
  row[0].set_ylabel(f'test accuracy on {dataset}')
  return png(picture)


def strip(rows: Sequence[Mapping[str, Any]]) -> bytes:
  """Draws networks' errors as a row of dots each, with their mean as a bar.

  Args:
    rows: a run each, with a `network` and its `test_error` in [0, 1].
  """
  names = list(dict.fromkeys(row['network'] for row in rows))
  picture, (panel,) = panels(1, 7, 0.8 + 0.5 * len(names))
  for y, name in enumerate(names):
    errors = [row['test_error'] for row in rows if row['network'] == name]
    # Apart, so that equal errors show.
    heights = y + np.linspace(-0.2, 0.2, len(errors) + 2)[1:-1]
    panel.plot(errors, heights, 'o', color=BLUE, alpha=0.6)
    panel.plot([np.mean(errors)] * 2, [y - 0.3, y + 0.3], color=VERMILION)
  panel.set_yticks(range(len(names)), names)
  panel.set_ylim(len(names) - 0.5, -0.5)
  panel.set_xlabel('test error; bar: mean')
  panel.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=1))
  panel.grid(False, axis='y')
  panel.spines['left'].set_visible(False)
  return png(picture)


def scatter(parts: Mapping[str, np.ndarray]) -> bytes:
  """Draws how the supernet's accuracy of architectures goes with the true one.

  Args:
    parts: by the title of a panel, each [n, 3]: accuracy in the supernet, true
      accuracy, and the number of skip connections, which gives the colour.
  """
  picture, row = panels(len(parts), 1 + 3.8 * len(parts), 3.8)
  counts = np.arange(len(nasbench201.EDGES) + 1)
  norm = colors.BoundaryNorm(np.arange(len(counts) + 1) - 0.5, 256)
  for panel, (title, part) in zip(row, parts.items(), strict=True):
    guessed, true, skips = part.T
    dots = panel.scatter(
      guessed, true, 16, skips, norm=norm, cmap='viridis', linewidths=0
    )
    panel.set_title(title, fontsize=10)
    panel.set_xlabel('accuracy in the supernet')
    panel.locator_params(nbins=6)
    for axis in (panel.xaxis, panel.yaxis):
      axis.set_major_formatter(ticker.PercentFormatter(1))
  row[0].set_ylabel('true accuracy')
  bar = picture.colorbar(dots, ax=row, ticks=counts)
  bar.minorticks_off()
  bar.set_label('skip connections')
  return png(picture)


def spectrum(runs: Mapping[str, Sequence[Mapping[str, float | str]]]) -> bytes:
  """Draws Hessians' eigenvalues: the share of them in each of 60 bins.

  All panels, one a run, have one scale; the shares' is logarithmic.

  Args:
    runs: by name, each rows with an `eigenvalue` and its `share` of all; what
      is not finite is left out.
  """
  pairs = {}
  for name, rows in runs.items():
    table = np.array([[row['eigenvalue'], row['share']] for row in rows], float)
    pairs[name] = table[np.isfinite(table[:, 0])]
  every = np.concatenate([[0.0], *(t[:, 0] for t in pairs.values())])
  size = 7, 0.8 + 1.6 * len(runs)
  picture = figure.Figure(size, dpi=130, layout='constrained')
  column = picture.subplots(len(runs), 1, squeeze=False, sharex=True)[:, 0]
  span = every.min(), max(every.max(), every.min() + 1e-9)
  for panel, (name, table) in zip(column, pairs.items(), strict=True):
    values, shares = table.T
    if len(table):
      panel.hist(values, _BINS, range=span, weights=shares, color=BLUE)
      panel.set_yscale('log')
      panel.set_ylim(bottom=shares.min() / 2)  # or the lowest bars vanish
    panel.axvline(0, color='0.6', linewidth=0.8)
    largest = max(values, default=np.nan)
    panel.set_title(f'{name}: largest {largest:.3g}', fontsize=10)
    panel.set_ylabel('share')
    panel.spines[['top', 'right']].set_visible(False)
  column[-1].set_xlabel('eigenvalue')
  return png(picture)


def landscape(runs: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
  """Draws the loss around where searches ended, in alphas and in weights.

  A row a group: the plane of each run, in colours that a group shares, and cuts
  through all; a cut is the middle row.

  Args:
    runs: by name, each with `steps` [n] and, for the alphas and the weights,
      the loss and the accuracy [n, n] in two directions.
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
  return png(picture)


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
  for (run, found), colour in coloured(runs.items()):
    steps, middle = found['steps'], len(found['steps']) // 2
    panel.plot(steps, found[name][:, middle], color=colour, label=run)
    panel.plot(steps, found[name][middle], color=colour, linestyle=':')
  panel.set_title(f'{what} along the first (-) and second (:)', fontsize=9)
  panel.tick_params(labelsize=8)
  open_axes(panel)
  if len(runs) > 1:
    panel.legend(frameon=False, fontsize=8)

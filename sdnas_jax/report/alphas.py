"""Draws how a search weighed its operations, epoch by epoch, as a PNG.

  >>> import numpy as np
  >>> from sdnas_jax.report import alphas
  >>> from sdnas_jax.spaces import darts
  >>> history = {'normal': np.zeros((3, *darts.SPACE.shape))}
  >>> alphas.draw(history, darts.SPACE)[1:4]
  b'PNG'

The operation `none` is grey and dashed.
"""

from collections.abc import Mapping
import itertools

from matplotlib import figure
from matplotlib import gridspec
from matplotlib import ticker
import numpy as np
from scipy import special

from sdnas_jax.report import figures
from sdnas_jax.spaces import space as spaces

_COLOURS = (
  *(figures.BLUE, figures.SKY, '#000000', figures.GREEN),
  *(figures.ORANGE, figures.VERMILION, figures.PURPLE),
)
_NONE = '--', '#888888'
_PANEL, _LEGEND, _LEFT = (1.5, 1.05), 0.45, 0.6  # Inches.


def draw(history: Mapping[str, np.ndarray], space: spaces.Space) -> bytes:
  """Draws the mixing weights of every edge over the epochs, as lines.

  A kind of cell is a triangle of panels: a row a node, a column a source.

  Args:
    history: alphas (logits) by kind of cell, each [epochs, edges, primitives];
      of tables [epochs, cells, ...] the mean over the cells is drawn.

  Raises:
    ValueError: the edges or primitives of a table are not those of the space.
  """
  picture = _triangles(history, space)
  picture.legend(
    handles=picture.subfigs[0].axes[0].get_lines(),
    loc='upper center',
    ncols=min(4, space.inputs + space.nodes - 1),  # as wide as the panels
    frameon=False,
    fontsize=9,
  )
  return figures.png(picture)


def _triangles(history, space):
  """A figure of panels."""
  rows, columns = space.nodes, space.inputs + space.nodes - 1
  # Places are given in inches: matplotlib's own layouts take seconds.
  part = columns * _PANEL[0] + _LEFT + 0.1, rows * _PANEL[1] + 0.9
  heights = [_LEGEND] + len(history) * [part[1]]
  picture = figure.Figure((part[0], sum(heights)), dpi=130)
  stack = gridspec.GridSpec(len(heights), 1, picture, height_ratios=heights)
  weights = {
    k: _weights(v, space.alive(k)) for k, v in history.items() if v.size
  }
  weights = {k: v.mean(axis=1) if v.ndim > 3 else v for k, v in weights.items()}
  high = max(np.nanmax(table) for table in weights.values())
  for n, (kind, table) in enumerate(weights.items()):
    half = picture.add_subfigure(stack[n + 1])
    grid = half.add_gridspec(
      rows,
      columns,
      left=_LEFT / part[0],
      right=1 - 0.1 / part[0],
      bottom=0.45 / part[1],
      top=1 - 0.45 / part[1],
      wspace=0.1,
      hspace=0.3,
    )
    _fill(half, grid, table, space, high)
    half.suptitle(spaces.title(kind), fontsize=11, y=1 - 0.03 / part[1])
    half.supxlabel('epoch', fontsize=9, y=0.06 / part[1])
    half.supylabel('weight', fontsize=9, x=0.01)
  return picture


def _weights(alphas, alive):
  """What an edge does not have is nan, which no line is drawn of."""
  p = special.softmax(np.where(alive, alphas, -np.inf), axis=-1)
  return np.where(alive, p, np.nan)


def _fill(half, grid, weights, space, high):
  """Draws [epochs, edges, primitives] weights, of which `high` is the most."""
  first, epochs = None, np.arange(1, len(weights) + 1)
  tables = weights.transpose(1, 0, 2)
  for (source, target), table in zip(space.edges, tables, strict=True):
    place = grid[target - space.inputs, source]
    panel = half.add_subplot(place, sharex=first, sharey=first)
    first = first or panel
    panel.set_title(
      f'{_name(source, space)} → {_name(target, space)}', fontsize=9, pad=3, y=1
    )
    styles = itertools.product(('-', ':'), _COLOURS)
    for primitive, series in zip(space.primitives, table.T, strict=True):
      style, colour = _NONE if primitive == 'none' else next(styles)
      look = {'color': colour, 'ls': style, 'lw': 1.2, **figures.LAST}
      panel.plot(epochs, series, label=primitive, clip_on=False, **look)
    panel.set_ylim(0, 1.05 * high)
    panel.tick_params(labelsize=8)
    figures.open_axes(panel)
    panel.label_outer()  # as in a table: numbers at the left and below
    panel.set_xlim(0.5, len(weights) + 0.5)
    panel.xaxis.set_major_locator(
      ticker.MaxNLocator(3, integer=True, min_n_ticks=1)
    )


def _name(node: int, space: spaces.Space) -> str:
  before = space.inputs - node
  return f'$c_{{k-{before}}}$' if before > 0 else str(-before)

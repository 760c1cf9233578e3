"""What the figures share: colours, axes without a frame, their PNG."""

from collections.abc import Iterable
from collections.abc import Iterator
import io
import itertools
from typing import Any

from matplotlib import axes
from matplotlib import figure
from matplotlib.backends import backend_agg

# Okabe and Ito's, which the colour-blind tell apart.
COLOURS = '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9'


def coloured(each: Iterable[Any]) -> Iterator[tuple[Any, str]]:
  """Each with a colour of its own, while there are others."""
  return zip(each, itertools.cycle(COLOURS), strict=False)


def open_axes(panel: axes.Axes) -> None:
  """Draws a faint grid, and no frame above and to the right."""
  panel.grid(alpha=0.25)
  panel.spines[['top', 'right']].set_visible(False)


def png(picture: figure.Figure) -> bytes:
  """The figure, as a PNG."""
  content = io.BytesIO()
  backend_agg.FigureCanvasAgg(picture).print_png(content)
  return content.getvalue()

"""What the tests of the pictures share."""

from matplotlib.backends import backend_agg
import pytest


@pytest.fixture
def drawn(monkeypatch):
  """The figures drawn, in order."""
  figures = []
  render = backend_agg.FigureCanvasAgg.print_png

  def keep(canvas, *args, **kwargs):
    figures.append(canvas.figure)
    return render(canvas, *args, **kwargs)

  monkeypatch.setattr(backend_agg.FigureCanvasAgg, 'print_png', keep)
  return figures

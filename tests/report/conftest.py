"""What the tests of pictures and pages share."""

import shutil

from matplotlib.backends import backend_agg
import pytest

BROWSERS = 'chromium', 'chromium-browser', 'google-chrome', 'microsoft-edge'


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


@pytest.fixture(scope='module')
def browser():
  sync_api = pytest.importorskip('playwright.sync_api')
  found = next(filter(None, map(shutil.which, BROWSERS)), None)
  if not found:
    pytest.skip(f'no browser is installed: none of {", ".join(BROWSERS)}')
  still = '--disable-background-networking', '--disable-component-update'
  with sync_api.sync_playwright() as playwright:
    started = playwright.chromium.launch(
      executable_path=found, args=['--no-sandbox', *still]
    )
    yield started
    started.close()

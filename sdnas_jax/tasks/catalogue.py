"""What there is to choose from, a line each: `launch.py --list`."""

import ast
from collections.abc import Iterator
import inspect
import pathlib
import sys
import textwrap

from sdnas_jax.data import named
from sdnas_jax.data import sources
from sdnas_jax.methods import METHODS
from sdnas_jax.spaces import published
from sdnas_jax.spaces import SPACES

WIDTH = 79


def lines(configs: pathlib.Path) -> Iterator[str]:
  """Methods, spaces, data sets, configs of a folder, published cells."""
  yield from _section(
    'methods, --config.method=',
    {name: sys.modules[m.__module__].__doc__ for name, m in METHODS.items()},
  )
  kinds = {
    name: f'{len(space.edges)} edges of {"some of " * bool(space.own)}'
    f'{", ".join(space.primitives)}'
    for name, space in SPACES.items()
  }
  yield from _section('spaces, --config.space=', kinds)
  found = {
    name: inspect.getdoc(getattr(source, 'func', source))
    for name, source in (sources.SOURCES | sources.SIZED).items()
  } | {'mnist, ...': named.read.__doc__}
  yield from _section('data sets, --config.data.name=', found)
  files = {
    path.name: ast.get_docstring(ast.parse(path.read_text()))
    for path in sorted(configs.glob('*.py'))
  }
  yield from _section(f'configs, --config={configs.name}/', files)
  cells = {name: cell.source for name, cell in published.CELLS.items()}
  yield from _section('published cells, --config.genotype=', cells)


def _section(title, entries):
  yield f'\n{title}'
  wide = max(map(len, entries), default=0)
  for name, text in entries.items():
    first = (text or '').split('\n\n')[0]
    told = textwrap.shorten(first, WIDTH - wide - 4, placeholder=' ...')
    yield f'  {name:<{wide}}  {told}'

"""One self-contained HTML page, which needs no network.

>>> from sdnas_jax.report import page
>>> sections = {'Result': [('facts', {'accuracy': '97 %'})]}
>>> page.page('runs/mine', sections).startswith('<!doctype html>')
True
"""

import base64
from collections.abc import Iterable
from collections.abc import Mapping
import pathlib
from typing import Any

import jinja2

_TEMPLATES = jinja2.Environment(
  loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
)


def page(
  title: str,
  sections: Mapping[str, Iterable[tuple[Any, ...]]],
  tag: str = '',
) -> str:
  """The page, from the parts that stand under its headings.

  Args:
    title: of the whole page.
    sections: by heading, parts: each the name of a macro of parts.html, and
      what that is given. A heading without parts is left out.
    tag: the page's ETag, if it shall look for a newer one where it came from.

  Raises:
    UndefinedError, TypeError: parts.html has no such macro or arguments.
  """
  listed = {heading: [*parts] for heading, parts in sections.items()}
  template = _TEMPLATES.get_template('page.html')
  return template.render(title=title, sections=listed, tag=tag)


def _uri(content):
  """An address that holds all of a PNG, or of an SVG as text."""
  svg = isinstance(content, str)
  kind, data = ('svg+xml', content.encode()) if svg else ('png', content)
  return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def _shown(value):
  """As text, numbers to four digits."""
  if isinstance(value, float):
    whole = value.is_integer() and abs(value) < 1e15
    return f'{int(value):,}' if whole else f'{value:.4g}'
  # But True is no number.
  return f'{value:,}' if type(value) is int else str(value)


_TEMPLATES.filters |= {'uri': _uri, 'shown': _shown}

"""One self-contained HTML page, which needs no network.

>>> from sdnas_jax.report import page
>>> text = page.page('runs/mine', {'Result': page.facts({'accuracy': '97 %'})})
>>> text.startswith('<!doctype html>')
True
"""

import base64
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import html
import pathlib
import string
from typing import Any
import urllib.parse

_PAGE = pathlib.Path(__file__).with_name('page.html')


def page(title: str, sections: Mapping[str, str]) -> str:
  """The page, from its sections' headings and HTML; empty ones are left out."""
  parts = {name: text for name, text in sections.items() if text}
  names = {name: name.lower().replace(' ', '-') for name in parts}
  links = [f'<a href="#{mark}">{name}</a>' for name, mark in names.items()]
  blocks = [
    f'<section id="{names[name]}"><h2>{name}</h2>\n{text}\n</section>'
    for name, text in parts.items()
  ]
  return string.Template(_PAGE.read_text()).substitute(
    title=html.escape(title), links=' '.join(links), sections='\n'.join(blocks)
  )


def image(content: bytes | str, text: str) -> str:
  """A PNG, or an SVG as text, and what tells it to who cannot see it."""
  if isinstance(content, str):
    content, kind = content.encode(), 'svg+xml'
  else:
    kind = 'png'
  data = base64.b64encode(content).decode()
  alt = html.escape(text)
  return f'<img src="data:image/{kind};base64,{data}" alt="{alt}">'


def facts(named: Mapping[str, Any]) -> str:
  """A table of names and values; nothing for none."""
  if not named:
    return ''
  rows = [
    f'<tr><th scope="row">{_text(k)}<td>{_text(v)}' for k, v in named.items()
  ]
  return f'<div class="facts"><table>{"".join(rows)}</table></div>'


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """A table whose columns are those of the first row."""
  if not rows:
    return ''
  head = ''.join(f'<th scope="col">{_text(name)}' for name in rows[0])
  body = (f'<tr>{"".join(map(_cell, row.values()))}' for row in rows)
  return f'<div class="wide"><table><tr>{head}{"".join(body)}</table></div>'


def folded(title: str, text: str) -> str:
  """Text that shows when its title is clicked."""
  return f'<details><summary>{_text(title)}</summary>\n{text}</details>'


def link(target: str, text: str) -> str:
  """A link to a file beside the page."""
  return f'<a href="./{urllib.parse.quote(target)}">{_text(text)}</a>'


def listed(items: Iterable[str]) -> str:
  """A list, of HTML."""
  return f'<ul>{"".join(f"<li>{item}" for item in items)}</ul>'


def steps(frames: Sequence[str], what: str, begin: int) -> str:
  """A slider over frames, of HTML, that begins at one of them.

  Frames that are equal are written once.
  """
  each = list(dict.fromkeys(frames))
  which = ' '.join(str(each.index(frame)) for frame in frames)
  hidden = [
    f'<div class="frame"{" hidden" * (frame != frames[begin])}>{frame}</div>'
    for frame in each
  ]
  count = len(frames)
  return (
    f'<div class="steps" data-frames="{which}"><label>{_text(what)} '
    f'<input type="range" min="1" max="{count}" value="{begin + 1}"> '
    '<output></output></label> <button type="button">play</button>\n'
    f'{"".join(hidden)}</div>'
  )


def _cell(value):
  try:
    return f'<td>{_text(float(value))}'
  except ValueError:
    return f'<td>{_text(value)}'


def _text(value):
  """As text, numbers to four digits."""
  if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
    value = int(value)
  if isinstance(value, float):
    return f'{value:.4g}'
  if type(value) is int:
    return f'{value:,}'
  return html.escape(str(value))

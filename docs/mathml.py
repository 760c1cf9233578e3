"""Formulas as MathML, which browsers show by themselves: a hook of MkDocs."""

import html
import re

from latex2mathml import converter

FORMULA = re.compile(
  r'class="arithmatex">\\(?P<open>[(\[])(?P<latex>.*?)\\[)\]]<', re.DOTALL
)


def on_page_content(content: str, **_) -> str:
  """Replaces what pymdownx.arithmatex has marked."""
  return FORMULA.sub(_mathml, content)


def _mathml(found):
  display = 'inline' if found['open'] == '(' else 'block'
  latex = html.unescape(found['latex']).replace('\\arg', '\\mathrm{arg}\\,')
  latex = re.sub(r'\\[Bb]ig *(?=\\)', '', latex)  # of commands: unknown to it
  made = converter.convert(latex, display=display)
  if unknown := re.search(r'>\\+[a-z]+', made):
    raise ValueError(f'{unknown[0]} of {latex} is no command of latex2mathml')
  return f'class="math">{made}<'

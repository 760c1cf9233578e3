"""Tables for a console and for Markdown, from rows of text.

>>> from sdnas_jax.report import table
>>> print(table.text([{'variant': 'DARTS', 'test error, %': '2.76'}]))
          test
      error, %
DARTS     2.76
"""

from collections.abc import Mapping
from collections.abc import Sequence

Rows = Sequence[Mapping[str, str]]  # by title, all with the same ones

WIDTH = 80  # of the console


def text(rows: Rows) -> str:
  """Lines of at most WIDTH characters, if no name leaves too little room.

  Columns that do not fit stand in further blocks, each with the names: the
  first column, whose title is left out. Rows without a cell in a block are left
  out of it.
  """
  name, *titles = rows[0]
  wide = {
    title: max(map(len, (*_head(title), *(row[title] for row in rows))))
    for title in titles
  }
  wide[name] = max(len(row[name]) for row in rows)
  blocks, left = [], 0
  for title in titles:
    if wide[title] >= left:
      blocks.append([])
      left = WIDTH - wide[name]
    blocks[-1].append(title)
    left -= 1 + wide[title]
  return '\n\n'.join(_block(rows, name, own, wide) for own in blocks)


def _head(title):
  """A title in two lines."""
  *above, below = title.split(' ', 1)
  return ' '.join(above), below


def _block(rows, name, titles, wide):
  heads = zip(*map(_head, titles), strict=True)
  lines = [('', *head) for head in heads]
  for row in rows:
    if any(row[title] for title in titles):
      lines.append((row[name], *(row[title] for title in titles)))
  return '\n'.join(
    f'{first:<{wide[name]}}'
    + ''.join(
      f' {cell:>{wide[title]}}'
      for title, cell in zip(titles, cells, strict=True)
    )
    for first, *cells in lines
  )


def markdown(rows: Rows) -> str:
  """A table of Markdown."""
  titles = list(rows[0])
  rule = ['---', *['---:'] * (len(titles) - 1)]
  lines = [titles, rule, *([row[title] for title in titles] for row in rows)]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)

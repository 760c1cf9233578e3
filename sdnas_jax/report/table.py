"""Tables for a console and for Markdown, from rows of text.

>>> from sdnas_jax.report import table
>>> print(table.text([{'variant': 'DARTS', 'test error, %': '2.76'}]))
            test
variant error, %
DARTS       2.76
"""

from collections.abc import Mapping
from collections.abc import Sequence

Rows = Sequence[Mapping[str, str]]  # by title, all with the same ones

WIDTH = 80  # of the console


def text(rows: Rows) -> str:
  """Lines of at most WIDTH characters, if no name leaves too little room.

  The first column is of names. Columns that do not fit stand in further blocks,
  each with the names of those who have a cell in it.
  """
  title, *titles = rows[0]
  names, blocks = ['', title, *(row[title] for row in rows)], []
  first = max(map(len, names))
  for title in titles:
    *above, below = title.split(' ', 1)
    cells = [*(above or ['']), below, *(row[title] for row in rows)]
    wide = max(map(len, cells))
    if not blocks or len(blocks[-1][0]) + 1 + wide > WIDTH:
      blocks.append([f'{name:<{first}}' for name in names])
    pairs = zip(blocks[-1], cells, strict=True)
    blocks[-1] = [f'{line} {cell:>{wide}}' for line, cell in pairs]
  return '\n\n'.join(
    '\n'.join(line.rstrip() for line in block if line[first:].strip())
    for block in blocks
  )


def markdown(rows: Rows) -> str:
  """A table of Markdown."""
  titles = list(rows[0])
  rule = ['---', *['---:'] * (len(titles) - 1)]
  lines = [titles, rule, *(row.values() for row in rows)]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)

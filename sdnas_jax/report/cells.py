"""Draws a searched cell: as a picture, and as text for a terminal.

  >>> from sdnas_jax.report import cells
  >>> from sdnas_jax.spaces import space
  >>> pairs = [('skip_connect', 0), ('sep_conv_3x3', 1)]
  >>> print(cells.text(space.paired(pairs, concat=(2,))))
    0 = skip_connect(c_{k-2}) + sep_conv_3x3(c_{k-1})
    c_{k} = concat(0)

The picture is a layered drawing (Sugiyama, Tagawa and Toda, 1981): columns of
nodes and, between them, of labels. An edge is a chain of boxes, one in every
column it passes, and runs level within a column. As boxes never overlap, edges
may only cross between columns, where there are neither labels nor nodes.
"""

import dataclasses
import html
import itertools
import pathlib
import random
import statistics
import textwrap

from sdnas_jax.spaces import space as spaces

_FONT = 13
# The widest letter of the usual monospace fonts (Courier, Menlo, DejaVu).
_LETTER = 0.61 * _FONT
_NODE, _LABEL, _LINE, _GAP = 34.0, 18.0, 6.0, 7.0  # Heights.
_WIDTH, _MARGIN, _STARTS, _SWEEPS = 960.0, 10.0, 24, 24

_PICTURE = pathlib.Path(__file__).with_name('cell.svg').read_text()
_PATH = """<path data-source="{}" data-target="{}" data-operation="{}" \
stroke="{}" d="{}"/>"""
_BOX = """<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="8" \
{}/><text x="{:.1f}" y="{:.1f}">{}</text>"""

_Edge = tuple[int, int, str]  # Source, target, operation: '' to the output.
_Columns = list[list['_Box']]


@dataclasses.dataclass(eq=False, repr=False)
class _Box:
  """A node, a label, or where an edge passes a column; `y` is its middle."""

  column: int
  height: float = _LINE
  paint: str = ''
  text: str = ''
  width: float = 0.0
  left: float = 0.0
  y: float = 0.0
  before: list['_Box'] = dataclasses.field(default_factory=list)
  after: list['_Box'] = dataclasses.field(default_factory=list)


def text(cell: spaces.Graph) -> str:
  """Writes a cell as text, node by node; arguments and errors as of `svg`."""
  names, edges = _named(cell)
  sums = []
  for node in range(cell.inputs, len(names) - 1):
    terms = [f'{name}({names[i]})' for i, j, name in edges if j == node]
    sums.append(f'{names[node]} = {" + ".join(terms) or "nothing"}')
  joined = ', '.join(names[node] for node in cell.outputs)
  sums.append(f'{names[-1]} = concat({joined})')
  wrap = textwrap.TextWrapper(79, '  ', '      ').fill
  return '\n'.join(map(wrap, sums))


def svg(cell: spaces.Graph, title: str, starts: int = _STARTS) -> str:
  """Draws a cell as a standalone SVG.

  Args:
    cell: edges that are `none` are left out; nodes without inputs are dashed.
    title: what a screen reader or a hovering mouse tells.
    starts: layouts to choose from; fewer are drawn sooner.

  Raises:
    ValueError: an edge leaves no earlier node.
  """
  names, edges = _named(cell)
  nodes = _nodes(names, edges, cell.inputs)
  columns = [[] for _ in range(nodes[-1].column + 1)]
  for node in nodes:
    columns[node.column].append(node)
  chains = [_chain(edge, nodes, columns) for edge in edges]
  for node in nodes:
    most = max(len(node.before), len(node.after))
    node.height = max(_NODE, 5.2 * most + 8)  # arrows are 5 apart
  _place(columns, starts)
  width = _spread(columns)
  boxes = list(itertools.chain(*columns))
  top = min(box.y - box.height / 2 for box in boxes) - _MARGIN
  return _PICTURE.format(
    shown=min(width, 1000),
    top=top,
    width=width,
    height=max(b.y + b.height / 2 for b in boxes) + _MARGIN - top,
    font=_FONT,
    title=html.escape(title),
    paths='\n'.join(map(_path, edges, chains)),
    boxes='\n'.join(_drawn(box) for box in boxes if box.text),
  )


def _named(cell: spaces.Graph) -> tuple[list[str], list[_Edge]]:
  """The nodes' names and the edges between them."""
  count, last = len(cell.nodes), cell.inputs + len(cell.nodes)
  edges = [(i, j, name) for name, i, j in cell.edges if name != 'none']
  edges += [(source, last, '') for source in cell.outputs]
  for source, target, _ in edges:
    if not 0 <= source < target:
      raise ValueError(f'Node {source} does not precede node {target}.')
  inputs = [f'c_{{k-{n}}}' for n in range(cell.inputs, 0, -1)]
  return [*inputs, *map(str, range(count)), 'c_{k}'], edges


def _nodes(names: list[str], edges: list[_Edge], inputs: int) -> list[_Box]:
  """Nodes in even columns by the longest path, the output after the last."""
  inner = len(names) - 1 - inputs
  depth = [0] * inputs + [2] * inner + [0]
  for source, target, operation in edges:
    if operation:
      depth[target] = max(depth[target], depth[source] + 2)
  depth[-1] = max(depth) + 1
  fills = ['#b4eeb4'] * inputs + ['#add8e6'] * inner + ['#eee8aa']
  paints = [f'fill="{fill}" stroke="#555"' for fill in fills]
  for node in {*range(inputs, inputs + inner)} - {edge[1] for edge in edges}:
    paints[node] = 'fill="#fff" stroke="#999" stroke-dasharray="4 3"'
  return [
    _Box(column, _NODE, paint, name, max(_NODE, len(name) * _LETTER + 16))
    for column, paint, name in zip(depth, paints, names, strict=True)
  ]


def _chain(edge: _Edge, nodes: list[_Box], columns: _Columns) -> list[_Box]:
  """Adds an edge to the columns, its label to the emptiest one."""
  first, last = nodes[edge[0]], nodes[edge[1]]
  way = [_Box(column) for column in range(first.column + 1, last.column)]
  if name := edge[2]:
    box = min(way[::2], key=lambda box: len(columns[box.column]))
    box.height, box.paint, box.text = _LABEL, 'fill="#fff"', name
    box.width = len(name) * _LETTER + 8
  for box in way:
    columns[box.column].append(box)
  for a, b in itertools.pairwise([first, *way, last]):
    a.after.append(b)
    b.before.append(a)
  return [first, *way, last]


def _place(columns: _Columns, starts: int) -> None:
  """Sets every `y` to the best of several starts: few crossings, straight."""
  upper, lower, *_ = boxes = list(itertools.chain(*columns))
  found, rng = [], random.Random(0)
  for _ in range(starts):
    for _ in range(_SWEEPS):
      for column in columns + columns[::-1]:
        _settle(column)
    found.append((*_cost(columns), {box: box.y for box in boxes}))
    for box in boxes:
      box.y = rng.uniform(0, 100)
  *_, ys = min(found, key=lambda start: start[:2])
  for box, y in ys.items():
    box.y = y if ys[upper] < ys[lower] else -y


def _cost(columns: _Columns) -> tuple[int, float]:
  """How many edges cross, and about how much they bend."""
  crossings, bends = 0, 0.0
  for column in columns:
    for a, b in itertools.combinations(column, 2):
      crossings += sum(p.y > q.y for p in a.after for q in b.after)
    for a in column:
      bends += sum(_pull(a, b) * (a.y - b.y) ** 2 for b in a.after)
  return crossings, round(bends, -2)


def _pull(a: _Box, b: _Box) -> float:
  """How strongly two boxes want to be level."""
  # Within an edge one large bend looks better than many small ones.
  inner = max(a.height, b.height) < _NODE
  return 100 / max(abs(a.y - b.y), 0.5) if inner else 1.0


def _settle(column: list[_Box]) -> None:
  """Sorts a column by its neighbours, moves it as near as the gaps allow."""
  # A label counts its target twice, to stand by it among those of its source.
  after = {box: box.after * (1 + (box.height == _LABEL)) for box in column}
  near = {box: box.before + after[box] or column for box in column}
  mean = {box: statistics.fmean(o.y for o in near[box]) for box in column}
  column.sort(key=mean.get)
  reach = [box.height + _GAP for box in column]
  shifts = [sum(reach[:k]) + reach[k] / 2 for k in range(len(column))]
  blocks = []  # Isotonic regression by pooling adjacent violators.
  for box, shift in zip(column, shifts, strict=True):
    pulls = [_pull(box, other) for other in near[box]]
    gaps = [other.y - shift for other in near[box]]
    blocks.append((statistics.fmean(gaps, pulls), sum(pulls), 1))
    while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
      (y, w, n), (z, v, m) = blocks[-2:]
      blocks[-2:] = [(statistics.fmean((y, z), (w, v)), w + v, n + m)]
  levels = [level for level, _, count in blocks for _ in range(count)]
  for box, level, shift in zip(column, levels, shifts, strict=True):
    box.y = level + shift


def _spread(columns: _Columns) -> float:
  """Sets `left` and `width` by column; returns the width of the picture."""
  widths = [max((b.width for b in column), default=0) for column in columns]
  bend = min(max((_WIDTH - sum(widths)) / (len(widths) - 1), 30), 75)
  left = _MARGIN
  for column, width in zip(columns, widths, strict=True):
    for box in column:
      box.left, box.width = left, width
    left += width + bend
  return left - bend + _MARGIN


def _port(node: _Box, box: _Box) -> float:
  """The height at which the edge to or from `box` meets a node."""
  side = node.after if box in node.after else node.before
  rank = sorted(other.y for other in side).index(box.y)
  apart = min(8, (node.height - 8) / len(side))
  return node.y + (rank - (len(side) - 1) / 2) * apart


def _path(edge: _Edge, chain: list[_Box]) -> str:
  start, end = _port(chain[0], chain[1]), _port(chain[-1], chain[-2])
  ys = [start, *(box.y for box in chain[1:-1]), end]
  d = f'M{chain[0].left:.1f} {start:.1f}'
  for k, (y, z) in enumerate(itertools.pairwise(ys)):
    x, end = chain[k].left + chain[k].width, chain[k + 1].left
    c = (x + end) / 2
    d += f' H{x:.1f} C{c:.1f} {y:.1f} {c:.1f} {z:.1f} {end:.1f} {z:.1f}'
  source, target, operation = edge
  colour = '#666' if operation else '#aaa'
  return _PATH.format(source, target, html.escape(operation), colour, d)


def _drawn(box: _Box) -> str:
  x, y = box.left + box.width / 2, box.y + 0.34 * _FONT
  rect = box.left, box.y - box.height / 2, box.width, box.height, box.paint
  return _BOX.format(*rect, x, y, html.escape(box.text))

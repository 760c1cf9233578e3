"""Tests of the picture and the text of a cell."""

import collections
import functools
import itertools
import pathlib
import random
import re
from typing import NamedTuple
from xml.etree import ElementTree

import matplotlib
from PIL import ImageFont
import pytest

from sdnas_jax.report import cells
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

CONCAT = (2, 3, 4, 5)
NAMES = ('c_{k-2}', 'c_{k-1}', '0', '1', '2', '3', 'c_{k}')
OPERATIONS = (
  'max_pool_3x3',
  'avg_pool_3x3',
  'skip_connect',
  'sep_conv_3x3',
  'sep_conv_5x5',
  'dil_conv_3x3',
  'dil_conv_5x5',
)
PUBLISHED = {
  'DARTS_V1 normal': """sep_conv_3x3-1 sep_conv_3x3-0 skip_connect-0
    sep_conv_3x3-1 skip_connect-0 sep_conv_3x3-1 sep_conv_3x3-0
    skip_connect-2""",
  'DARTS_V1 reduce': """max_pool_3x3-0 max_pool_3x3-1 skip_connect-2
    max_pool_3x3-0 max_pool_3x3-0 skip_connect-2 skip_connect-2
    avg_pool_3x3-0""",
  'DARTS_V2 normal': """sep_conv_3x3-0 sep_conv_3x3-1 sep_conv_3x3-0
    sep_conv_3x3-1 sep_conv_3x3-1 skip_connect-0 skip_connect-0
    dil_conv_3x3-2""",
  'DARTS_V2 reduce': """max_pool_3x3-0 max_pool_3x3-1 skip_connect-2
    max_pool_3x3-1 max_pool_3x3-0 skip_connect-2 skip_connect-2
    max_pool_3x3-1""",
  'PC_DARTS_cifar normal': """sep_conv_3x3-1 skip_connect-0 sep_conv_3x3-0
    dil_conv_3x3-1 sep_conv_5x5-0 sep_conv_3x3-1 avg_pool_3x3-0
    dil_conv_3x3-1""",
  'PC_DARTS_cifar reduce': """sep_conv_5x5-1 max_pool_3x3-0 sep_conv_5x5-1
    sep_conv_5x5-2 sep_conv_3x3-0 sep_conv_3x3-3 sep_conv_3x3-1
    sep_conv_3x3-2""",
  'GDAS_V1 normal': """skip_connect-0 skip_connect-1 skip_connect-0
    sep_conv_5x5-2 sep_conv_3x3-3 skip_connect-0 sep_conv_5x5-4
    sep_conv_3x3-3""",
  'GDAS_V1 reduce': """sep_conv_5x5-0 sep_conv_3x3-1 sep_conv_5x5-2
    sep_conv_5x5-1 dil_conv_5x5-2 sep_conv_3x3-1 sep_conv_5x5-0
    sep_conv_5x5-1""",
}
CELLS = [*PUBLISHED, *range(20)]
FONT = pathlib.Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSansMono.ttf')


class Box(NamedTuple):
  left: float
  top: float
  right: float
  bottom: float

  def touches(self, other: 'Box') -> bool:
    return max(self.left, other.left) <= min(self.right, other.right) and max(
      self.top, other.top
    ) <= min(self.bottom, other.bottom)

  def holds(self, other: 'Box') -> bool:
    return (
      self.left <= other.left
      and self.top <= other.top
      and self.right >= other.right
      and self.bottom >= other.bottom
    )


class Edge(NamedTuple):
  source: int
  operation: str
  target: int
  points: list[Box]  # Of no size.

  def passes(self, box: Box) -> bool:
    return any(point.touches(box) for point in self.points)


class Drawing(NamedTuple):
  root: ElementTree.Element
  view: Box
  nodes: list[Box]  # In the order of NAMES.
  labels: list[tuple[str, Box]]
  edges: list[Edge]


def svg(pairs, concat, title):
  return cells.svg(spaces.paired(pairs, concat), title)


def text(pairs, concat):
  return cells.text(spaces.paired(pairs, concat))


def genotype(cell: str | int) -> list[tuple[str, int]]:
  """A published cell by its name, or a random one by its seed."""
  if cell in PUBLISHED:
    words = [word.split('-') for word in PUBLISHED[cell].split()]
    return [(operation, int(source)) for operation, source in words]
  rng = random.Random(cell)
  return [(rng.choice(OPERATIONS), rng.randrange(2 + k // 2)) for k in range(8)]


@functools.cache
def drawing(cell: str | int) -> Drawing:
  return read(svg(genotype(cell), CONCAT, 'A cell'))


def read(svg: str) -> Drawing:
  """Reads a picture back; texts have the extent of an actual font."""
  root = ElementTree.fromstring(re.sub(' xmlns="[^"]*"', '', svg))
  x, y, width, height = map(float, root.get('viewBox').split())
  font = ImageFont.truetype(FONT, 100)
  scale = float(root.get('font-size')) / 100
  rects = [rect_box(rect) for rect in root.findall('rect') if rect.get('rx')]
  nodes, labels = {}, []
  for text in root.findall('text'):
    left, top = float(text.get('x')), float(text.get('y'))
    ink = [scale * v for v in font.getbbox(text.text, anchor='ms')]
    box = Box(left + ink[0], top + ink[1], left + ink[2], top + ink[3])
    if text.text in NAMES:
      assert text.text not in nodes
      (nodes[text.text],) = (rect for rect in rects if rect.holds(box))
    else:
      labels.append((text.text, box))
  return Drawing(
    root,
    Box(x, y, x + width, y + height),
    [nodes[name] for name in NAMES],
    labels,
    [read_edge(path) for path in root.findall('g/path')],
  )


def rect_box(rect: ElementTree.Element) -> Box:
  x, y, width, height = (
    float(rect.get(k)) for k in ('x', 'y', 'width', 'height')
  )
  return Box(x, y, x + width, y + height)


def read_edge(path: ElementTree.Element) -> Edge:
  points = []
  for command, numbers in re.findall(r'([A-Z])([^A-Z]*)', path.get('d')):
    v = [float(number) for number in numbers.split()]
    if command == 'M':
      ends = [v]
    elif command == 'H':
      ends = [points[-1], (v[0], points[-1][1])]
    else:
      assert command == 'C'
      ends = [points[-1], v[:2], v[2:4], v[4:]]
    points += [bezier(ends, k / 100) for k in range(101)]
  return Edge(
    int(path.get('data-source')),
    path.get('data-operation'),
    int(path.get('data-target')),
    [Box(x, y, x, y) for x, y in points],
  )


def bezier(ends: list, t: float) -> tuple[float, float]:
  """De Casteljau's construction."""
  while len(ends) > 1:
    ends = [
      (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]))
      for a, b in itertools.pairwise(ends)
    ]
  return tuple(ends[0])


@pytest.mark.parametrize('cell', CELLS)
def test_every_edge_is_drawn_once(cell):
  pairs = genotype(cell)
  expected = [(source, op, 2 + k // 2) for k, (op, source) in enumerate(pairs)]
  expected += [(node, '', 6) for node in CONCAT]
  assert len(expected) == 12
  drawn = [edge[:3] for edge in drawing(cell).edges]
  assert collections.Counter(drawn) == collections.Counter(expected)


@pytest.mark.parametrize('cell', CELLS)
def test_edges_run_from_source_to_target_and_past_other_nodes(cell):
  _, _, nodes, _, edges = drawing(cell)
  for edge in edges:
    start, end = edge.points[0], edge.points[-1]
    assert start.touches(nodes[edge.source])
    assert end.left == pytest.approx(nodes[edge.target].left, abs=0.11)
    assert nodes[edge.target].top < end.top < nodes[edge.target].bottom
    assert nodes[edge.source].right < nodes[edge.target].left
    passed = {k for k, node in enumerate(nodes) if edge.passes(node)}
    assert passed == {edge.source, edge.target}


@pytest.mark.parametrize('cell', CELLS)
def test_every_operation_is_written_on_its_edge_alone(cell):
  _, _, _, labels, edges = drawing(cell)
  written = [[name for name, box in labels if e.passes(box)] for e in edges]
  assert written == [[e.operation] if e.operation else [] for e in edges]
  assert len(labels) == 8


@pytest.mark.parametrize('cell', CELLS)
def test_labels_and_nodes_overlap_nothing(cell):
  _, view, nodes, labels, _ = drawing(cell)
  boxes = [*nodes, *(box for _, box in labels)]
  assert len(boxes) == 15
  for a, b in itertools.combinations(boxes, 2):
    assert not a.touches(b)
  for box in boxes:
    assert view.holds(box)


@pytest.mark.parametrize('cell', CELLS)
def test_labels_are_written_on_white(cell):
  root, _, _, labels, _ = drawing(cell)
  white = [rect for rect in root.findall('rect[@rx]') if is_white(rect)]
  assert len(white) == len(labels) == 8
  for _, box in labels:
    assert sum(rect_box(rect).holds(box) for rect in white) == 1


def is_white(rect: ElementTree.Element) -> bool:
  return rect.get('fill') == '#fff'


@pytest.mark.parametrize('cell', CELLS)
def test_arrows_at_a_node_are_apart(cell):
  edges = drawing(cell).edges
  for target in range(2, 7):
    tips = sorted(e.points[-1].top for e in edges if e.target == target)
    assert len(tips) == (4 if target == 6 else 2)
    assert min(b - a for a, b in itertools.pairwise(tips)) > 5


@pytest.mark.parametrize('cell', CELLS)
def test_the_older_input_is_above(cell):
  nodes = drawing(cell).nodes
  assert nodes[0].bottom < nodes[1].top


@pytest.mark.parametrize(
  ('cell', 'most'),
  [
    # So many must: n nodes that take both inputs make a K(2, n).
    ('DARTS_V1 normal', 3),
    ('DARTS_V2 normal', 3),
    ('PC_DARTS_cifar normal', 6),
    ('GDAS_V1 normal', 0),
    # The fewest that a longer search has found.
    ('DARTS_V1 reduce', 2),
    ('DARTS_V2 reduce', 1),
    ('PC_DARTS_cifar reduce', 1),
    ('GDAS_V1 reduce', 2),
  ],
)
def test_few_edges_cross(cell, most):
  lines = [edge.points[::10] for edge in drawing(cell).edges]
  segments = [list(itertools.pairwise(line)) for line in lines]
  crossing = [
    any(cross(p, q) for p, q in itertools.product(a, b))
    for a, b in itertools.combinations(segments, 2)
  ]
  assert len(crossing) == 66
  assert sum(crossing) <= most


def cross(a: tuple[Box, Box], b: tuple[Box, Box]) -> bool:
  """Whether two segments cross, not merely touch."""

  def side(line, point):
    (x, y, *_), (z, w, *_) = line
    return (z - x) * (point.top - y) - (w - y) * (point.left - x)

  return side(a, b[0]) * side(a, b[1]) < 0 and side(b, a[0]) * side(b, a[1]) < 0


@pytest.mark.parametrize('cell', CELLS)
def test_labels_are_large_enough_at_the_size_shown(cell):
  root, view = drawing(cell)[:2]
  shown = float(root.get('width'))
  assert shown <= 1000
  scale = shown / (view.right - view.left)
  assert float(root.get('font-size')) * scale >= 11


def test_parallel_edges_are_apart():
  sources = [0, 0, 2, 2, 1, 1, 0, 4]
  operations = ['skip_connect', 'sep_conv_3x3', *['skip_connect'] * 6]
  pairs = list(zip(operations, sources, strict=True))
  edges = read(svg(pairs, CONCAT, 'Twins')).edges
  for a, b in (edges[:2], edges[2:4], edges[4:6]):
    assert (a.source, a.target) == (b.source, b.target)
    middle = len(a.points) // 2
    assert len(a.points) == len(b.points)
    assert abs(a.points[middle].top - b.points[middle].top) > 15


def test_a_cell_may_leave_out_inputs_and_join_some_nodes_only():
  pairs = [('skip_connect', 1)] * 8
  _, _, nodes, labels, edges = read(svg(pairs, (4, 1), 'Odd'))
  assert [e[:3] for e in edges[8:]] == [(4, '', 6), (1, '', 6)]
  assert len(labels) == 8
  for a, b in itertools.combinations(nodes, 2):
    assert not a.touches(b)


def test_the_colours_tell_inputs_nodes_and_output_apart():
  root = drawing('DARTS_V2 normal').root
  rects = {
    rect_box(rect): rect.get('fill') for rect in root.findall('rect')[1:]
  }
  fills = [rects[node] for node in drawing('DARTS_V2 normal').nodes]
  assert fills == ['#b4eeb4'] * 2 + ['#add8e6'] * 4 + ['#eee8aa']


def test_the_background_is_white_and_the_first_drawn():
  first = next(drawing('DARTS_V2 normal').root.iter('rect'))
  assert first.get('fill') == '#fff'
  assert first.get('width') == first.get('height') == '100%'


def test_texts_are_escaped():
  pairs = [('a<b>&"c"', 0), ("d'e", 1)]
  root = ElementTree.fromstring(svg(pairs, (2,), '<i>&"'))
  space = '{http://www.w3.org/2000/svg}'
  assert root.find(f'{space}title').text == '<i>&"'
  paths = root.findall(f'{space}g/{space}path')
  assert [p.get('data-operation') for p in paths] == ['a<b>&"c"', "d'e", '']
  texts = {text.text for text in root.findall(f'{space}text')}
  assert texts == {'a<b>&"c"', "d'e", 'c_{k-2}', 'c_{k-1}', '0', 'c_{k}'}


def test_a_long_chain_of_long_names_is_shown_at_most_1000_wide():
  pairs = [('an_operation_of_a_long_name', k // 2) for k in range(16)]
  root = ElementTree.fromstring(svg(pairs, range(2, 10), 'Long'))
  assert float(root.get('viewBox').split()[2]) > 1000
  assert float(root.get('width')) == 1000


def test_a_picture_depends_on_nothing_but_its_arguments():
  pairs = genotype('GDAS_V1 normal')
  random.seed(1)
  first = svg(pairs, CONCAT, 'Twice')
  random.seed(2)
  assert svg(pairs, CONCAT, 'Twice') == first


def test_text_of_a_published_cell():
  assert text(genotype('GDAS_V1 normal'), CONCAT) == (
    '  0 = skip_connect(c_{k-2}) + skip_connect(c_{k-1})\n'
    '  1 = skip_connect(c_{k-2}) + sep_conv_5x5(0)\n'
    '  2 = sep_conv_3x3(1) + skip_connect(c_{k-2})\n'
    '  3 = sep_conv_5x5(2) + sep_conv_3x3(1)\n'
    '  c_{k} = concat(0, 1, 2, 3)'
  )


def test_text_of_some_joined_nodes():
  pairs = [('max_pool_3x3', 0), ('skip_connect', 0)]
  assert text(pairs, (1, 2)) == (
    '  0 = max_pool_3x3(c_{k-2}) + skip_connect(c_{k-2})\n'
    '  c_{k} = concat(c_{k-1}, 0)'
  )


@pytest.mark.parametrize('show', [text, functools.partial(svg, title='')])
@pytest.mark.parametrize(
  ('pairs', 'concat', 'message'),
  [
    ([('skip_connect', 0)], (), 'two a node'),
    ([('skip_connect', 0), ('skip_connect', 2)], (2,), 'Node 2 does not'),
    ([('skip_connect', 0), ('skip_connect', -1)], (2,), 'Node -1 does not'),
    ([('skip_connect', 0), ('skip_connect', 1)], (3,), 'Node 3 does not'),
  ],
)
def test_no_cell(show, pairs, concat, message):
  with pytest.raises(ValueError, match=message):
    show(pairs, concat)


def many(seed):
  """A cell whose nodes have any number of pairs, also of one source twice."""
  rng = random.Random(seed)
  nodes = {
    node: [
      (rng.choice(OPERATIONS), rng.randrange(node))
      for _ in range(rng.choice((0, 1, 2, 3, 5)))
    ]
    for node in CONCAT
  }
  cells = {'normal': nodes}
  return spaces.Genotype.of(SPACES['darts'], cells).graphs['normal']


ALL = {node: [('skip_connect', n) for n in range(node)] for node in CONCAT}
ALL = spaces.Graph(2, tuple(map(tuple, ALL.values())), CONCAT)
TWICE = ALL._replace(nodes=tuple(2 * pairs for pairs in ALL.nodes))


@pytest.mark.parametrize('graph', [ALL, TWICE, *map(many, range(12))])
def test_a_cell_of_any_number_of_pairs_is_drawn_clearly(graph):
  root, view, nodes, labels, edges = read(cells.svg(graph, 'Many'))
  expected = [(i, op, j) for op, i, j in graph.edges]
  expected += [(node, '', 6) for node in graph.outputs]
  assert [edge[:3] for edge in edges] == expected
  boxes = [*nodes, *(box for _, box in labels)]
  for a, b in itertools.combinations(boxes, 2):
    assert not a.touches(b)
  assert all(view.holds(box) for box in boxes)
  for edge in edges:
    written = [name for name, box in labels if edge.passes(box)]
    assert written == ([edge.operation] if edge.operation else [])
    passed = {k for k, node in enumerate(nodes) if edge.passes(node)}
    assert passed == {edge.source, edge.target}
  for target in range(2, 7):
    tips = sorted(e.points[-1].top for e in edges if e.target == target)
    assert all(b - a > 5 for a, b in itertools.pairwise(tips))
  dashed = root.findall('rect[@stroke-dasharray]')
  without = {nodes[n + 2] for n, pairs in enumerate(graph.nodes) if not pairs}
  assert {rect_box(rect) for rect in dashed} == without
  # Not among the inputs.
  assert all(box.left > nodes[0].right for box in without)


def test_a_cell_without_any_edge_is_drawn():
  graph = spaces.Graph(2, ((),) * 4, ())
  drawn = read(cells.svg(graph, 'Empty'))
  assert len(drawn.nodes) == 7 and not drawn.edges and not drawn.labels
  assert cells.text(graph).splitlines() == [
    *(f'  {n} = nothing' for n in range(4)),
    '  c_{k} = concat()',
  ]


def test_a_long_sum_goes_on_in_the_next_line():
  pairs = [('dil_conv_5x5', n) for n in (0, 1, 0, 1)]
  graph = spaces.Graph(2, (tuple(pairs),), (2,))
  assert cells.text(graph) == (
    '  0 = dil_conv_5x5(c_{k-2}) + dil_conv_5x5(c_{k-1}) +'
    ' dil_conv_5x5(c_{k-2}) +\n'
    '      dil_conv_5x5(c_{k-1})\n'
    '  c_{k} = concat(0)'
  )


def test_a_cell_of_nasbench201_is_drawn_without_its_none_edges():
  string = (
    '|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|'
  )
  cell = nasbench201.of(nasbench201.parse(string)).graphs['cell']
  assert cells.text(cell) == (
    '  0 = nor_conv_3x3(c_{k-1})\n'
    '  1 = nothing\n'
    '  2 = skip_connect(c_{k-1}) + avg_pool_3x3(1)\n'
    '  c_{k} = concat(2)'
  )
  root = ElementTree.fromstring(cells.svg(cell, 'cell'))
  space = '{http://www.w3.org/2000/svg}'
  paths = root.findall(f'{space}g/{space}path')
  ends = 'data-source', 'data-operation', 'data-target'
  assert [tuple(map(path.get, ends)) for path in paths] == [
    *(('0', 'nor_conv_3x3', '1'), ('0', 'skip_connect', '3')),
    *(('2', 'avg_pool_3x3', '3'), ('3', '', '4')),
  ]
  fills = [rect.get('fill') for rect in root.findall(f'{space}rect')]
  assert fills.count('#b4eeb4') == fills.count('#eee8aa') == 1


@pytest.mark.parametrize('index', [0, 1, 100, 1835, 9930])
@pytest.mark.parametrize('name', [None, 'none'])
def test_any_cell_of_nasbench201_is_drawn(index, name):
  cell = (name,) * 6 if name else nasbench201.cell(index)
  (graph,) = nasbench201.of(cell).graphs.values()
  root = ElementTree.fromstring(cells.svg(graph, 'cell'))
  texts = [t.text for t in root.findall('{http://www.w3.org/2000/svg}text')]
  kept = [name for name in cell if name != 'none']
  assert sorted(texts) == sorted(['c_{k-1}', '0', '1', '2', 'c_{k}', *kept])

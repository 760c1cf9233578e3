"""What may be searched, as data: a `Space` and the `Genotype` found in it.

>>> from sdnas_jax import spaces
>>> len(spaces.SPACES['darts'].edges)
14
"""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import operator
from typing import Any
from typing import NamedTuple

import numpy as np

from sdnas_jax import errors

Pairs = tuple[tuple[str, int], ...]  # (primitive, source node)


class Graph(NamedTuple):
  """A discrete cell, whose nodes are counted from the first input on.

  Its `inputs` are followed by `nodes`, each the sum of its pairs, of which
  there may be any number, also several from one source; the cell's output
  concatenates the nodes numbered `outputs`.
  """

  inputs: int
  nodes: tuple[Pairs, ...]
  outputs: tuple[int, ...]

  @property
  def edges(self) -> tuple[tuple[str, int, int], ...]:
    """(primitive, source, target) of every edge, node by node."""
    targets = enumerate(self.nodes, self.inputs)
    return tuple((*pair, node) for node, pairs in targets for pair in pairs)

  @property
  def live(self) -> 'Graph':
    """Without `none`, and without what comes from nodes that have no input."""
    nodes, fed = [], set(range(self.inputs))
    for node, pairs in enumerate(self.nodes, self.inputs):
      kept = [p for p in pairs if p[0] != 'none' and p[1] in fed]
      nodes.append(tuple(kept))
      fed |= {node} if kept else set()
    return self._replace(nodes=tuple(nodes))

  @property
  def fed(self) -> tuple[int, ...]:
    """The nodes that something live enters; the others are zero."""
    nodes = enumerate(self.live.nodes, self.inputs)
    return tuple(node for node, pairs in nodes if pairs)


def paired(pairs: Pairs, concat: Collection[int]) -> Graph:
  """A cell of DARTS's kind: two inputs, two pairs a node.

  Raises:
    ValueError, TypeError: they are odd, or no pairs.
  """
  if len(pairs) % 2:
    raise ValueError(f'{len(pairs)} pairs are not two a node.')
  pairs = _pairs(pairs)
  nodes = zip(pairs[::2], pairs[1::2], strict=True)
  return Graph(2, tuple(nodes), tuple(map(_node, concat)))


def _pairs(pairs):
  return tuple((_name(name), _node(source)) for name, source in pairs)


def _name(name):
  if not isinstance(name, str):
    raise TypeError(f'{name!r} is no operation')
  return str(name)


def _node(number):
  """A node's number, from what may be of any type: no 0.5, no true."""
  if isinstance(number, bool):
    raise TypeError(f'{number} is no node')
  return operator.index(number)


@dataclasses.dataclass(frozen=True)
class Genotype:
  """A discrete architecture: a graph for each kind of cell, or for each cell.

  The names are a space's kinds or, from the first cell on, cell0, cell1, ...
  """

  space: str
  cells: tuple[tuple[str, Graph], ...]  # by name

  @classmethod
  def of(
    cls,
    space: 'Space',
    cells: Mapping[str, Mapping[int, Collection[tuple[str, int]]]],
    concat: Collection[int] | None = None,
  ) -> 'Genotype':
    """What a method has decided, node by node.

      >>> nodes = {2: [('sep_conv_3x3', 0), ('skip_connect', 1)], 4: []}
      >>> Genotype.of(space, {'normal': nodes, 'reduce': nodes})

    Args:
      space: that it is of.
      cells: by their names, the (primitive, source node) pairs of the nodes.
        A node that is missing has none; pairs that are `none` vanish.
      concat: the nodes concatenated, by default those that are not zero.
    """
    graphs = {}
    for name, nodes in cells.items():
      kept = (_pairs(nodes.get(node, ())) for node in space.targets)
      kept = (tuple(p for p in pairs if p[0] != 'none') for pairs in kept)
      graph = Graph(space.inputs, tuple(kept), ())
      outputs = graph.fed if concat is None else tuple(concat)
      graphs[name] = graph._replace(outputs=outputs)
    return cls(space.name, tuple(graphs.items()))

  @classmethod
  def strongest(
    cls, space: 'Space', mix: Mapping[str, np.ndarray]
  ) -> 'Genotype':
    """What DARTS derives; every node is concatenated."""
    return cls.of(space, {k: keep(space, mix[k], 2) for k in space.kinds})

  @classmethod
  def read(cls, fields: Mapping[str, Any]) -> 'Genotype':
    """From the `fields` of a genotype.json; what they say is not checked.

    Raises:
      ValueError, KeyError, TypeError: they are not a genotype's.
    """
    names = [k.removesuffix('_concat') for k in fields if k.endswith('_concat')]
    names.sort(key=lambda name: (len(name), name))  # cell10 is behind cell9
    graphs = [_graph(fields[name], fields[f'{name}_concat']) for name in names]
    return cls(str(fields['space']), tuple(zip(names, graphs, strict=True)))

  @property
  def graphs(self) -> dict[str, Graph]:
    """The cells by name."""
    return dict(self.cells)

  @property
  def fields(self) -> dict[str, Any]:
    """What a genotype.json says.

    Where all nodes have two pairs it is DARTS's own form, a list of pairs for
    each cell; else each cell has such a list for each node's number.
    """
    usual = all(len(p) == 2 for _, cell in self.cells for p in cell.nodes)
    fields = {'space': self.space}
    for name, cell in self.cells:
      by_node = {str(n): p for n, p in enumerate(cell.nodes, cell.inputs)}
      fields[name] = sum(cell.nodes, ()) if usual else by_node
      fields[f'{name}_concat'] = cell.outputs
    return fields


def _graph(nodes, concat):
  """A cell as a genotype.json has it, in either form."""
  if not isinstance(nodes, Mapping):
    return paired(nodes, concat)
  numbers = [str(node) for node in range(2, 2 + len(nodes))]
  if set(nodes) != set(numbers):
    found, due = (errors.cut(', '.join(names)) for names in (nodes, numbers))
    raise ValueError(
      f'the nodes {found} are not {due}: number them so, and give one without '
      'inputs an empty list'
    )
  pairs = tuple(_pairs(nodes[node]) for node in numbers)
  return Graph(2, pairs, tuple(map(_node, concat)))


class Group(NamedTuple):
  """Edges that leave one node and have the same primitives."""

  name: str
  source: int
  edges: tuple[int, ...]
  primitives: tuple[str, ...]


class Space(NamedTuple):
  """A cell-based search space.

  A cell is a directed acyclic graph: `inputs` input nodes, then `nodes`
  intermediate ones, each fed by every node before it. Each edge carries a
  mixture of `primitives`, or of its own among them. One alpha table is shared
  by all cells of a kind.
  """

  name: str
  primitives: tuple[str, ...]
  nodes: int = 4
  inputs: int = 2
  kinds: tuple[str, ...] = ('normal', 'reduce')
  genotype: type = Genotype  # of what is found; another has its methods
  # A kind's edges' own primitives, in their order; () where each has all.
  own: tuple[tuple[tuple[str, ...], ...], ...] = ()

  @property
  def targets(self) -> tuple[int, ...]:
    """The intermediate nodes."""
    return tuple(range(self.inputs, self.inputs + self.nodes))

  @property
  def edges(self) -> tuple[tuple[int, int], ...]:
    """(source, target) of every edge: node-major, then by predecessor."""
    return tuple((i, j) for j in self.targets for i in range(j))

  @property
  def shape(self) -> tuple[int, int]:
    """Shape of one kind's alpha table: [edges, primitives]."""
    return len(self.edges), len(self.primitives)

  def offered(self, kind: str) -> tuple[tuple[str, ...], ...]:
    """The primitives of each edge of a kind of cell."""
    if not self.own:
      return (self.primitives,) * len(self.edges)
    return self.own[self.kinds.index(kind)]

  def alive(self, kind: str) -> np.ndarray:
    """The same as bool [edges, primitives]."""
    return np.array(
      [[p in own for p in self.primitives] for own in self.offered(kind)]
    )

  def groups(self, kind: str) -> tuple['Group', ...]:
    """All edges of a kind, where together what can be computed together."""
    offered, found = self.offered(kind), []
    for source in range(self.inputs + self.nodes - 1):
      edges = {}
      for edge in self.leaving(source):
        edges.setdefault(offered[edge], []).append(edge)
      for n, (names, own) in enumerate(edges.items()):
        name = f'from{source}' + f'_{n}' * (len(edges) > 1)
        found.append(Group(name, source, tuple(own), names))
    return tuple(found)

  def leaving(self, source: int) -> tuple[int, ...]:
    """Indices of the edges that leave a node."""
    return tuple(e for e, (i, _) in enumerate(self.edges) if i == source)

  def entering(self, target: int) -> tuple[int, ...]:
    """Indices of the edges that enter a node."""
    return tuple(e for e, (_, j) in enumerate(self.edges) if j == target)


def reductions(layers: int) -> tuple[int, int]:
  """Which of so many cells halve the resolution, one or two (DARTS)."""
  return layers // 3, 2 * layers // 3


def title(kind: str) -> str:
  """A kind of cell, or one cell, in words."""
  return kind if kind.startswith('cell') else f'{kind} cell'


def strongest(space: Space, mix: Mapping[str, np.ndarray]) -> Any:
  """The genotype that each kind's [edges, primitives] weights stand for."""
  return space.genotype.strongest(space, mix)


def hard(space: Space, genotype: Any) -> dict[str, np.ndarray]:
  """The mixing weights that leave a genotype of the supernet.

  Returns:
    [edges, primitives] for each of its cells: how often it has the operation
    on the edge, mostly 0 or 1.
  """
  mix = {name: np.zeros(space.shape, np.float32) for name in genotype.graphs}
  for name, graph in genotype.graphs.items():
    for primitive, *edge in graph.edges:
      row = space.edges.index(tuple(edge))
      mix[name][row, space.primitives.index(primitive)] += 1
  return mix


def keep(
  space: Space, weights: np.ndarray, most: int | None = None, none: bool = False
) -> dict[int, Pairs]:
  """Keeps the strongest edges of every node and their best primitive.

  An edge's strength is its largest weight. Ties go to the lower index, and an
  edge without any weight is gone.

  Args:
    weights: [edges, primitives] mixing weights of one kind of cell.
    most: how many a node keeps; all without.
    none: whether `none` competes, as in SNAS; else it counts through the
      softmax only (DARTS, section 2.4).

  Returns:
    Each node's (primitive, source node) pairs, the stronger first.
  """
  names = [name for name in space.primitives if none or name != 'none']
  columns = [space.primitives.index(name) for name in names]
  weights, nodes = np.asarray(weights)[:, columns], {}
  for node in space.targets:
    entering = np.array(space.entering(node))
    order = np.argsort(-weights[entering].max(axis=1), kind='stable')
    nodes[node] = tuple(
      (names[weights[edge].argmax()], space.edges[edge][0])
      for edge in entering[order[:most]]
      if weights[edge].any()
    )
  return nodes

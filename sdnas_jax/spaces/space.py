"""What may be searched, as data: a `Space` and the `Genotype` found in it.

>>> from sdnas_jax import spaces
>>> len(spaces.SPACES['darts'].edges)
14
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

Pairs = tuple[tuple[str, int], ...]  # (primitive, source node)


class Graph(NamedTuple):
  """A discrete cell, whose nodes are counted from the first input on.

  Its `inputs` are followed by `nodes`, each the sum of its pairs; the cell's
  output concatenates the nodes numbered `outputs`.
  """

  inputs: int
  nodes: tuple[Pairs, ...]
  outputs: tuple[int, ...]

  @property
  def edges(self) -> tuple[tuple[str, int, int], ...]:
    """(primitive, source, target) of every edge, node by node."""
    targets = enumerate(self.nodes, self.inputs)
    return tuple((*pair, node) for node, pairs in targets for pair in pairs)


def paired(pairs: Sequence[tuple[str, int]], concat: Sequence[int]) -> Graph:
  """A cell of DARTS's kind: two inputs, two pairs a node.

  Raises:
    ValueError: the pairs are odd.
  """
  if len(pairs) % 2:
    raise ValueError(f'{len(pairs)} pairs are not two a node.')
  nodes = zip(pairs[::2], pairs[1::2], strict=True)
  return Graph(2, tuple(nodes), tuple(concat))


class Genotype(NamedTuple):
  """A discrete architecture: two (primitive, source node) pairs a node."""

  space: str
  normal: Pairs
  normal_concat: tuple[int, ...]
  reduce: Pairs
  reduce_concat: tuple[int, ...]

  @classmethod
  def read(cls, fields: Mapping[str, Any]) -> 'Genotype':
    """From the fields of a genotype.json; what they say is not checked.

    Raises:
      ValueError, KeyError, TypeError: they are not a genotype's.
    """
    return cls(
      fields['space'],
      tuple((str(kind), int(source)) for kind, source in fields['normal']),
      tuple(int(node) for node in fields['normal_concat']),
      tuple((str(kind), int(source)) for kind, source in fields['reduce']),
      tuple(int(node) for node in fields['reduce_concat']),
    )

  @classmethod
  def strongest(
    cls, space: 'Space', mix: Mapping[str, np.ndarray]
  ) -> 'Genotype':
    """What DARTS derives; every node is concatenated."""
    return cls(
      space=space.name,
      normal=top_two(space, mix['normal']),
      normal_concat=space.targets,
      reduce=top_two(space, mix['reduce']),
      reduce_concat=space.targets,
    )

  @property
  def graphs(self) -> dict[str, Graph]:
    """Each kind of cell."""
    return {
      'normal': paired(self.normal, self.normal_concat),
      'reduce': paired(self.reduce, self.reduce_concat),
    }


class Space(NamedTuple):
  """A cell-based search space.

  A cell is a directed acyclic graph: `inputs` input nodes, then `nodes`
  intermediate ones, each fed by every node before it. Each edge carries a
  mixture of `primitives`. One alpha table is shared by all cells of a kind.
  """

  name: str
  primitives: tuple[str, ...]
  nodes: int = 4
  inputs: int = 2
  kinds: tuple[str, ...] = ('normal', 'reduce')
  genotype: type = Genotype  # of what is found; another has its methods

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

  def leaving(self, source: int) -> tuple[int, ...]:
    """Indices of the edges that leave a node."""
    return tuple(e for e, (i, _) in enumerate(self.edges) if i == source)

  def entering(self, target: int) -> tuple[int, ...]:
    """Indices of the edges that enter a node."""
    return tuple(e for e, (_, j) in enumerate(self.edges) if j == target)


def tables(
  space: Space, cells: Sequence[str], per_cell: bool
) -> dict[str, tuple[int, ...]]:
  """The shape of each kind's alphas in a network of such cells.

  Args:
    space: what is searched.
    cells: their kinds, in the network's order.
    per_cell: whether each cell has a table of its own, on a first axis.
  """
  return {
    kind: (*((cells.count(kind),) if per_cell else ()), *space.shape)
    for kind in space.kinds
  }


def title(kind: str) -> str:
  """A kind of cell in words."""
  return kind if kind == 'cell' else f'{kind} cell'


def strongest(space: Space, mix: Mapping[str, np.ndarray]) -> Any:
  """The genotype that each kind's [edges, primitives] weights stand for."""
  return space.genotype.strongest(space, mix)


def hard(space: Space, genotype: Any) -> dict[str, np.ndarray]:
  """The mixing weights that leave a genotype of the supernet: ones and zeros.

  Returns:
    [edges, primitives] for each kind of cell.
  """
  mix = {kind: np.zeros(space.shape, np.float32) for kind in space.kinds}
  for kind, graph in genotype.graphs.items():
    for name, *edge in graph.edges:
      row = space.edges.index(tuple(edge))
      mix[kind][row, space.primitives.index(name)] = 1
  return mix


def top_two(space: Space, weights: np.ndarray) -> Pairs:
  """Keeps the two strongest edges of every node and their best primitive.

  An edge's strength is its largest weight but that of `none`, which so counts
  through the softmax only; ties go to the lower index (DARTS, section 2.4).

  Args:
    space: the search space.
    weights: [edges, primitives] mixing weights of one kind of cell.

  Returns:
    (primitive, source node) pairs, two a node, the stronger first.
  """
  allowed = [k for k, name in enumerate(space.primitives) if name != 'none']
  weights = np.asarray(weights)[:, allowed]
  pairs = []
  for node in space.targets:
    edges = np.array(space.entering(node))
    strength = weights[edges].max(axis=1)
    for edge in edges[np.argsort(-strength, kind='stable')[:2]]:
      best = allowed[int(weights[edge].argmax())]
      pairs.append((space.primitives[best], space.edges[edge][0]))
  return tuple(pairs)

"""What may be searched, as data: a `Space` and the `Genotype` found in it.

>>> from sdnas_jax import spaces
>>> len(spaces.SPACES['darts'].edges)
14
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


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

  @property
  def edges(self) -> tuple[tuple[int, int], ...]:
    """(source, target) of every edge: node-major, then by predecessor."""
    last = self.inputs + self.nodes
    return tuple((i, j) for j in range(self.inputs, last) for i in range(j))

  @property
  def shape(self) -> tuple[int, int]:
    """Shape of one kind's alpha table: [edges, primitives]."""
    return len(self.edges), len(self.primitives)

  @property
  def outputs(self) -> tuple[int, ...]:
    """The nodes whose concatenation is the cell's output."""
    return tuple(range(self.inputs, self.inputs + self.nodes))

  def leaving(self, source: int) -> tuple[int, ...]:
    """Indices of the edges that leave a node."""
    return tuple(e for e, (i, _) in enumerate(self.edges) if i == source)

  def entering(self, target: int) -> tuple[int, ...]:
    """Indices of the edges that enter a node."""
    return tuple(e for e, (_, j) in enumerate(self.edges) if j == target)


class Genotype(NamedTuple):
  """A discrete architecture: two (primitive, source node) pairs a node."""

  space: str
  normal: tuple[tuple[str, int], ...]
  normal_concat: tuple[int, ...]
  reduce: tuple[tuple[str, int], ...]
  reduce_concat: tuple[int, ...]


def strongest(space: Space, mix: Mapping[str, np.ndarray]) -> Genotype:
  """The genotype that DARTS derives from each kind's mixing weights."""
  return Genotype(
    space=space.name,
    normal=top_two(space, mix['normal']),
    normal_concat=space.outputs,
    reduce=top_two(space, mix['reduce']),
    reduce_concat=space.outputs,
  )


def hard(space: Space, genotype: Genotype) -> dict[str, np.ndarray]:
  """The mixing weights that leave a genotype of the supernet: ones and zeros.

  Returns:
    [edges, primitives] for each kind of cell.
  """
  mix = {kind: np.zeros(space.shape, np.float32) for kind in space.kinds}
  for kind in space.kinds:
    for n, (name, source) in enumerate(getattr(genotype, kind)):
      edge = space.edges.index((source, space.inputs + n // 2))
      mix[kind][edge, space.primitives.index(name)] = 1
  return mix


def top_two(space: Space, weights: np.ndarray) -> tuple[tuple[str, int], ...]:
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
  for node in space.outputs:
    edges = np.array(space.entering(node))
    strength = weights[edges].max(axis=1)
    for edge in edges[np.argsort(-strength, kind='stable')[:2]]:
      best = allowed[int(weights[edge].argmax())]
      pairs.append((space.primitives[best], space.edges[edge][0]))
  return tuple(pairs)

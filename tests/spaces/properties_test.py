"""Spaces, graphs and genotypes, of any shape, against brute force."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from tests import random_cells

DARTS = SPACES['darts']
SMALL = spaces.Space('small', ('none', 'a', 'b'), nodes=2)


@given(st.integers(1, 3), st.integers(1, 5))
def test_the_edges_of_a_space(inputs, nodes):
  """Every pair of a node and a later one that is no input, by the later one.

  So the edges that enter a node lie together, behind those of nodes before.
  """
  space = spaces.Space('any', ('a',), nodes, inputs)
  last = inputs + nodes
  pairs = itertools.product(range(last), repeat=2)
  edges = {(i, j) for i, j in pairs if i < j >= inputs}
  assert len(space.edges) == len(edges) and set(space.edges) == edges
  begin = 0
  for node in space.targets:
    assert space.entering(node) == tuple(range(begin, begin + node))
    begin += node
  assert begin == len(edges)
  for node in range(last):
    left = {space.edges[e] for e in space.leaving(node)}
    assert left == {(i, j) for i, j in edges if i == node}
    assert list(space.leaving(node)) == sorted(space.leaving(node))


def chosen(weights, source_edges, names, most):
  """The best of all choices of as many edges, an operation each.

  The best has the largest weight first, then the lowest source and operation;
  of choices that agree in it, the one whose second is best, and so on.
  """
  alive = [e for e in source_edges if any(weights[e, k] for k in names)]
  every = [(e, k) for e in alive for k in names]
  length = len(alive) if most is None else min(most, len(alive))
  choices = (
    choice
    for choice in itertools.permutations(every, length)
    if len({e for e, _ in choice}) == length
  )
  return max(choices, key=lambda c: [(weights[e, k], -e, -k) for e, k in c])


@given(
  st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=15, max_size=15),
  st.sampled_from([1, 2, 3, None]),
  st.booleans(),
)
def test_keep_is_the_best_of_all_choices(flat, most, none):
  weights = np.reshape(flat, SMALL.shape)
  kept = spaces.keep(SMALL, weights, most, none)
  for node, edges in ((2, (0, 1)), (3, (2, 3, 4))):
    best = chosen(weights, edges, range(not none, 3), most)
    assert kept[node] == tuple(
      (SMALL.primitives[k], e - edges[0]) for e, k in best
    )


@given(random_cells.graphs())
def test_live_is_what_can_be_reached_from_the_inputs(graph):
  """By powers of the matrix that says which node feeds which."""
  size = graph.inputs + len(graph.nodes)
  steps = np.eye(size, dtype=bool)
  for operation, source, node in graph.edges:
    steps[source, node] |= operation != 'none'
  paths = np.linalg.matrix_power(steps.astype(int), size)
  reached = [n for n in range(size) if paths[: graph.inputs, n].any()]
  assert graph.live.edges == tuple(
    edge for edge in graph.edges if edge[0] != 'none' and edge[1] in reached
  )
  assert graph.live._replace(nodes=graph.nodes) == graph
  assert graph.live.live == graph.live
  later = tuple(n for n in reached if n >= graph.inputs)
  assert graph.fed == graph.live.fed == later
  space = DARTS._replace(nodes=len(graph.nodes))
  cells = {'normal': dict(enumerate(graph.nodes, graph.inputs))}
  assert spaces.Genotype.of(space, cells).graphs['normal'].outputs == later


@given(random_cells.genotypes())
def test_a_genotype_s_file_says_the_genotype(tmp_path_factory, genotype):
  """Of any number of pairs a node, of two kinds of cells or any number."""
  fields = json.loads(json.dumps(genotype.fields))
  assert published.read(fields) == genotype
  path = tmp_path_factory.getbasetemp() / 'genotype.json'
  artifacts.write_json(path, genotype.fields)
  assert published.find(str(path)) == genotype


@st.composite
def pairs(draw):
  """Two of DARTS's operations for each node, the lower source first."""
  names = st.sampled_from(DARTS.primitives[1:])
  nodes = {}
  for node in DARTS.targets:
    sources = st.sampled_from([*itertools.combinations(range(node), 2)])
    nodes[node] = [(draw(names), source) for source in draw(sources)]
  return nodes


@given(pairs(), pairs())
def test_a_genotype_goes_through_its_hard_weights(normal, reduce):
  cells = {'normal': normal, 'reduce': reduce}
  genotype = spaces.Genotype.of(DARTS, cells)
  assert spaces.strongest(DARTS, spaces.hard(DARTS, genotype)) == genotype


def test_indices_cells_and_genotypes_of_nasbench201_are_in_bijection():
  """Through the command line's and a file's forms of each of the 15,625."""
  cells = set()
  for index in range(15_625):
    genotype = published.find(str(index))
    assert published.find(genotype.architecture) == genotype
    assert published.read(genotype.fields) == genotype
    nodes = [
      tuple((name, int(source)) for name, _, source in said)
      for said in (
        [word.partition('~') for word in node.strip('|').split('|')]
        for node in genotype.architecture.split('+')
      )
    ]
    assert genotype.graphs == {'cell': spaces.Graph(1, tuple(nodes), (3,))}
    cell = tuple(name for pairs in nodes for name, _ in pairs)
    assert nasbench201.index(cell) == index
    cells.add(cell)
  assert cells == {*itertools.product(nasbench201.OPERATIONS, repeat=6)}

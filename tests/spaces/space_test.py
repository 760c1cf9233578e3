"""The spaces and the genotypes derived from hand-written weights."""

import numpy as np
import pytest

from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

DARTS = SPACES['darts']
THREE = spaces.Space('three', ('none', 'a', 'b'), nodes=2)


def test_darts_has_14_edges_in_node_major_order():
  assert DARTS.edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
  assert DARTS.edges[9:] == ((0, 5), (1, 5), (2, 5), (3, 5), (4, 5))
  assert DARTS.shape == (14, 8)
  assert DARTS.targets == (2, 3, 4, 5)
  assert DARTS.leaving(3) == (8, 12)
  assert DARTS.entering(3) == (2, 3, 4)


def test_none_is_never_chosen_nor_strengthens_an_edge():
  weights = np.array(
    [
      [0.9, 0.05, 0.05],  # 0 -> 2
      [0.1, 0.3, 0.6],  # 1 -> 2
      [0.98, 0.01, 0.01],  # 0 -> 3: almost all none, so the weakest
      [0.2, 0.5, 0.3],  # 1 -> 3
      [0.4, 0.0, 0.6],  # 2 -> 3
    ]
  )
  assert spaces.top_two(THREE, weights) == (
    ('b', 1),
    ('a', 0),
    ('b', 2),
    ('a', 1),
  )


def test_ties_go_to_the_lower_index():
  assert spaces.top_two(THREE, np.full((5, 3), 1 / 3)) == (
    ('a', 0),
    ('a', 1),
    ('a', 0),
    ('a', 1),
  )


@pytest.mark.parametrize('seed', range(20))
def test_top_two_equals_brute_force(seed):
  weights = np.random.default_rng(seed).random(DARTS.shape)
  pairs = spaces.top_two(DARTS, weights)
  for node in range(4):
    best = sorted(
      (
        (-weights[DARTS.edges.index((i, node + 2)), k], i, name)
        for i in range(node + 2)
        for k, name in enumerate(DARTS.primitives)
        if name != 'none'
      ),
    )
    first = best[0]
    second = next(row for row in best if row[1] != first[1])
    assert pairs[2 * node] == (first[2], first[1])
    assert pairs[2 * node + 1] == (second[2], second[1])


@pytest.mark.parametrize('name', ['DARTS_V2', 'AmoebaNet'])
def test_the_graph_of_a_published_cell_is_its_pairs(name):
  genotype = published.CELLS[name].genotype
  for kind, graph in genotype.graphs.items():
    pairs = getattr(genotype, kind)
    assert graph.edges == tuple(
      (op, source, 2 + n // 2) for n, (op, source) in enumerate(pairs)
    )
    assert graph.outputs == getattr(genotype, f'{kind}_concat')


def test_hard_weights_are_one_for_each_edge_of_the_genotype():
  genotype = published.CELLS['DARTS_V2'].genotype
  hard = spaces.hard(DARTS, genotype)
  for kind in DARTS.kinds:
    ones = {tuple(at) for at in np.argwhere(hard[kind]).tolist()}
    assert ones == {
      (DARTS.edges.index((source, 2 + n // 2)), DARTS.primitives.index(op))
      for n, (op, source) in enumerate(getattr(genotype, kind))
    }


def test_strongest_fills_both_cells():
  rng = np.random.default_rng(0)
  mix = {kind: rng.random(DARTS.shape) for kind in DARTS.kinds}
  found = spaces.strongest(DARTS, mix)
  assert found.space == 'darts'
  assert found.normal == spaces.top_two(DARTS, mix['normal'])
  assert found.reduce == spaces.top_two(DARTS, mix['reduce'])
  assert found.normal_concat == found.reduce_concat == (2, 3, 4, 5)

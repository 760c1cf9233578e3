"""The spaces and the genotypes derived from hand-written weights."""

import json

import numpy as np
import pytest

from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

DARTS = SPACES['darts']
THREE = spaces.Space('three', ('none', 'a', 'b'), nodes=2)


def top_two(space, weights):
  """DARTS's choice in one list."""
  return sum(spaces.keep(space, weights, 2).values(), ())


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
  assert top_two(THREE, weights) == (
    ('b', 1),
    ('a', 0),
    ('b', 2),
    ('a', 1),
  )


def test_ties_go_to_the_lower_index():
  assert top_two(THREE, np.full((5, 3), 1 / 3)) == (
    ('a', 0),
    ('a', 1),
    ('a', 0),
    ('a', 1),
  )


@pytest.mark.parametrize('seed', range(20))
def test_top_two_equals_brute_force(seed):
  weights = np.random.default_rng(seed).random(DARTS.shape)
  pairs = top_two(DARTS, weights)
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


def test_hard_weights_are_one_for_each_edge_of_the_genotype():
  genotype = published.CELLS['DARTS_V2'].genotype
  hard = spaces.hard(DARTS, genotype)
  fields = genotype.fields
  for kind in DARTS.kinds:
    ones = {tuple(at) for at in np.argwhere(hard[kind]).tolist()}
    assert ones == {
      (DARTS.edges.index((source, 2 + n // 2)), DARTS.primitives.index(op))
      for n, (op, source) in enumerate(fields[kind])
    }


def test_hard_weights_of_double_edges_add_up():
  a, b = ('sep_conv_3x3', 0), ('skip_connect', 0)
  pairs = {2: [a, b], 3: [a, a, ('skip_connect', 2)]}
  found = spaces.Genotype.of(DARTS, {'cell0': pairs, 'cell1': {2: [b]}})
  hard = spaces.hard(DARTS, found)
  expected = np.zeros((2, *DARTS.shape))
  # Edges 0 to 4 are 0-2, 1-2, 0-3, 1-3, 2-3.
  expected[0, 0, [3, 4]], expected[0, 2, 4], expected[0, 4, 3] = 1, 2, 1
  expected[1, 0, 3] = 1
  np.testing.assert_array_equal([hard['cell0'], hard['cell1']], expected)


def test_strongest_fills_both_cells():
  rng = np.random.default_rng(0)
  mix = {kind: rng.random(DARTS.shape) for kind in DARTS.kinds}
  found = spaces.strongest(DARTS, mix)
  assert found.space == 'darts'
  assert found.fields == {
    'space': 'darts',
    'normal': top_two(DARTS, mix['normal']),
    'normal_concat': (2, 3, 4, 5),
    'reduce': top_two(DARTS, mix['reduce']),
    'reduce_concat': (2, 3, 4, 5),
  }


@pytest.mark.parametrize('edges', [1, 2, 3, None])
@pytest.mark.parametrize('none', [False, True])
def test_keep_equals_brute_force(edges, none):
  weights = np.random.default_rng(0).random(DARTS.shape)
  kept = spaces.keep(DARTS, weights, edges, none)
  assert list(kept) == [2, 3, 4, 5]
  for node, pairs in kept.items():
    best = [
      max(
        (weights[DARTS.edges.index((source, node)), k], name, source)
        for k, name in enumerate(DARTS.primitives)
        if none or name != 'none'
      )
      for source in range(node)
    ]
    ranked = sorted(best, reverse=True)[:edges]
    assert pairs == tuple((name, source) for _, name, source in ranked)


def test_a_genotype_is_of_what_was_decided_node_by_node():
  normal = {
    3: [('a', np.int64(0)), ('none', 1), ('b', 0)],
    2: [('none', 0)],
  }
  found = spaces.Genotype.of(THREE, {'normal': normal, 'reduce': {}})
  kept = ('a', 0), ('b', 0)
  assert found.graphs == {
    'normal': spaces.Graph(2, ((), kept), (3,)),
    'reduce': spaces.Graph(2, ((), ()), ()),
  }
  assert hash(found) == hash(spaces.Genotype(found.space, found.cells))
  found = spaces.Genotype.of(THREE, {'normal': normal}, THREE.targets)
  assert found.graphs['normal'].outputs == (2, 3)


def test_what_comes_from_a_node_without_inputs_is_not_live():
  nodes = (
    (('none', 0), ('none', 1)),  # 2
    (('a', 2),),  # 3: nothing but node 2
    (('a', 3), ('b', 1), ('none', 0), ('b', 1)),  # 4
    (('a', 4), ('b', 3)),  # 5
  )
  graph = spaces.Graph(2, nodes, (2, 5))
  expected = (), (), (('b', 1), ('b', 1)), (('a', 4),)
  assert graph.live == spaces.Graph(2, expected, (2, 5))
  assert graph.fed == (4, 5)


@pytest.mark.parametrize('layers', range(1, 21))
def test_reductions_are_at_a_third_and_two_thirds(layers):
  found = {n for n in range(layers) if n in spaces.reductions(layers)}
  assert found == {int(layers / 3 + 1e-9), int(2 * layers / 3 + 1e-9)}


def test_the_file_of_two_pairs_a_node_is_darts_s_own():
  pairs = [('a', 0), ('b', 1), ('b', 2), ('a', 0)]
  nodes = {2: pairs[:2], 3: pairs[2:]}
  found = spaces.Genotype.of(THREE, {'normal': nodes, 'reduce': nodes})
  assert json.dumps(found.fields) == (
    '{"space": "three", '
    '"normal": [["a", 0], ["b", 1], ["b", 2], ["a", 0]], '
    '"normal_concat": [2, 3], '
    '"reduce": [["a", 0], ["b", 1], ["b", 2], ["a", 0]], '
    '"reduce_concat": [2, 3]}'
  )


def test_the_file_of_other_graphs_is_by_node():
  cells = {'normal': {2: [('a', 0)], 3: [('b', 2)] * 3}, 'reduce': {3: []}}
  found = spaces.Genotype.of(THREE, cells)
  assert json.dumps(found.fields) == (
    '{"space": "three", '
    '"normal": {"2": [["a", 0]], "3": [["b", 2], ["b", 2], ["b", 2]]}, '
    '"normal_concat": [2, 3], '
    '"reduce": {"2": [], "3": []}, "reduce_concat": []}'
  )


@pytest.mark.parametrize('seed', range(5))
def test_a_genotype_goes_through_a_file(seed):
  rng = np.random.default_rng(seed)
  cells = {
    f'cell{n}': {
      node: [
        (str(rng.choice(DARTS.primitives)), rng.integers(node))
        for _ in range(rng.integers(5))
      ]
      for node in DARTS.targets
    }
    for n in range(11)
  }
  found = spaces.Genotype.of(DARTS, cells)
  assert spaces.Genotype.read(json.loads(json.dumps(found.fields))) == found

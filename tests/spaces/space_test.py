"""The spaces and the genotypes derived from hand-written weights."""

import numpy as np
import pytest

from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

DARTS = SPACES['darts']
THREE = spaces.Space('three', ('none', 'a', 'b'), nodes=2)


def test_darts_has_14_edges_in_node_major_order():
  assert DARTS.edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
  assert DARTS.edges[9:] == ((0, 5), (1, 5), (2, 5), (3, 5), (4, 5))
  assert DARTS.shape == (14, 8)
  assert DARTS.outputs == (2, 3, 4, 5)
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


def test_strongest_fills_both_cells():
  rng = np.random.default_rng(0)
  mix = {kind: rng.random(DARTS.shape) for kind in DARTS.kinds}
  found = spaces.strongest(DARTS, mix)
  assert found.space == 'darts'
  assert found.normal == spaces.top_two(DARTS, mix['normal'])
  assert found.reduce == spaces.top_two(DARTS, mix['reduce'])
  assert found.normal_concat == found.reduce_concat == (2, 3, 4, 5)

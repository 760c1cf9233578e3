"""Wider operations against copies made by hand, in a whole state."""

import dataclasses
import itertools

import jax
import numpy as np
import optax
import pytest

from sdnas_jax.methods import widening
from sdnas_jax.networks import nasbench201
from sdnas_jax.spaces import SPACES
from tests import toys

CELLS = SPACES['nasbench201']
# In which one kernel follows another.
TWICE = toys.SPACE._replace(
  primitives=(*toys.SPACE.primitives[:-1], 'sep_conv_3x3')
)


def setup(space, k):
  parts = toys.setup('pc_darts', options={'k': k})
  if space == 'toy':
    net = parts.net.clone(space=TWICE, channels=8, layers=3)
    return dataclasses.replace(parts, net=net)
  net = nasbench201.Supernet(
    *(CELLS, toys.CLASSES), channels=8, layers=1, partial=k
  )
  return dataclasses.replace(parts, net=net)


def numbered(tree, by):
  """Other numbers in every channel, so that copies can be told."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: by * np.float32(rng.standard_normal(x.shape)), tree
  )


@pytest.mark.parametrize('space', ['toy', 'nasbench201'])
def test_a_state_is_widened_whole(space, monkeypatch):
  monkeypatch.setattr(toys, 'IMAGE', (8, 8, 2))
  before, after = (toys.state(setup(space, k)) for k in (4, 2))
  weights = numbered(before.params['weights'], 1)
  momenta = optax.tree_utils.tree_get(before.opt, 'trace')
  momenta = momenta | {'weights': numbered(weights, 2)}
  before = before._replace(
    params=before.params | {'weights': weights},
    opt=optax.tree_utils.tree_set(before.opt, trace=momenta),
    stats=numbered(before.stats, 1),
  )
  wide = widening.widened(before, after, seed=3)
  shapes = lambda tree: jax.tree.map(np.shape, tree)  # noqa: E731
  assert shapes(wide) == shapes(after)
  got = wide.params['weights']
  trace = optax.tree_utils.tree_get(wide.opt, 'trace')['weights']
  jax.tree.map(lambda m, w: np.testing.assert_allclose(m, 2 * w), trace, got)
  flat, _ = jax.tree_util.tree_flatten_with_path((got, wide.stats))
  old = jax.tree.leaves((weights, before.stats))
  grown = 0
  for (path, new), x in zip(flat, old, strict=True):
    if new.shape == x.shape:
      np.testing.assert_array_equal(new, x)
      continue
    grown += 1
    # What is new are copies of old channels, for each row its own.
    known = {float(v) for v in x.ravel()}
    assert {float(v) for v in new.ravel()} <= known, path
    if 'skip' not in str(path):
      own = tuple(slice(0, n) for n in x.shape)
      np.testing.assert_array_equal(new[own], x)
  assert grown > 10
  again = widening.widened(before, after, seed=3)
  jax.tree.map(np.testing.assert_array_equal, again, wide)


def sources(x):
  """Of a row's new last channels, which are half, the old ones they copy."""
  old = x.shape[-1] // 2
  for new in range(old, 2 * old):
    (same,) = [c for c in range(old) if np.array_equal(x[..., new], x[..., c])]
    yield new, same


def test_what_follows_a_copy_takes_the_same_copies():
  """Its statistics, and the inputs of the next kernel."""
  before, after = (toys.state(setup('toy', k)) for k in (4, 2))
  before = before._replace(
    params=before.params | {'weights': numbered(before.params['weights'], 1)},
    stats=numbered(before.stats, 1),
  )
  wide = widening.widened(before, after, seed=5)
  for cell, source in itertools.product(range(3), range(3)):
    own, stats = (
      tree[f'cell{cell}'][f'from{source}']['mixed']
      for tree in (wide.params['weights'], wide.stats)
    )
    for part in ('first', 'second'):
      deep, point = own[part]['depthwise_3x3'], own[part]['pointwise']
      for row in range(len(deep)):
        for new, old in sources(deep[row]):
          np.testing.assert_array_equal(point[row, new], point[row, old])
        for x in jax.tree.leaves(stats[part]):
          for new, old in sources(point[row]):
            assert x[row, ..., new] == x[row, ..., old]
    if 'skip' in own:
      halves = [own['skip'][f'Pointwise_{n}']['kernel'] for n in (0, 1)]
      for x in jax.tree.leaves(stats['skip']):
        # As the halves are put together.
        for kernel, y in zip(halves, np.split(x, 2, axis=-1), strict=True):
          for row in range(len(kernel)):
            for new, old in sources(kernel[row]):
              assert y[row, ..., new] == y[row, ..., old]

"""FairNAS: in a step every operation of every edge is trained once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import rules
from sdnas_jax.spaces import SPACES
from tests.golden import given


def step(space, key, dead=()):
  """The weights' gradient where the loss counts; passes, masks, first mix."""
  method = methods.make('fairnas', {})
  arch = method.init(np.random.default_rng(0), given.net(space), 1e-3)
  mask = {k: m.copy() for k, m in arch.mask.items()}
  for row, column in dead:
    mask[space.kinds[0]][row, column] = False
  arch = arch._replace(mask=mask)
  w = {kind: jnp.zeros(m.shape) for kind, m in mask.items()}

  def loss(w, mix):
    rows = jnp.stack([mix[kind].sum(axis=-1).max() for kind in w])
    return sum(jnp.sum(w[k] * mix[k]) for k in w), rows.max()

  mix = method.draw(jax.random.key(key), arch, given.now(0, 1), 'weights')
  grads, seen = method.descend(rules.plain, loss, w, mix, given.now(0, 1))
  return grads, seen, mask, mix


@pytest.mark.parametrize('space', ['darts', 'nasbench201'])
def test_each_once(space):
  grads, seen, mask, mix = step(SPACES[space], 0)
  other = step(SPACES[space], 1)[-1]
  for kind, alive in mask.items():
    np.testing.assert_array_equal(grads[kind], alive)
    assert mix['passes'] == alive.sum(axis=-1).max()
    # In each pass an edge takes one, in an order of its own at each step.
    for order in np.asarray(mix['orders'][kind]):
      assert len({*order[: int(mix['passes'])]}) == mix['passes']
    assert not np.array_equal(mix['orders'][kind], other['orders'][kind])
  assert seen == 1


def test_edges_of_fewer_operations_begin_again():
  space = SPACES['nasbench201']
  (kind,) = space.kinds
  dead = [(0, o) for o in range(1, 5)] + [(1, o) for o in range(5)]
  grads, _, mask, mix = step(space, 0, dead)
  expected = mask[kind].astype(float)
  expected[0, 0] = mix['passes']
  np.testing.assert_array_equal(grads[kind], expected)

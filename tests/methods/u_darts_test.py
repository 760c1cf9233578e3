"""U-DARTS's paths, through whole steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdnas_jax.data import split
from sdnas_jax.methods import instances
from sdnas_jax.methods import subnetworks
from sdnas_jax.steps import search
from tests import toys

KEY = jax.random.key(0)


def test_optimisers_begin_anew_with_the_paths():
  """And the alphas and weights of what is not on them stand still."""
  parts = toys.setup('u_darts', weight=0.0, options={'period': 2})
  state, (train, valid) = toys.state(parts), toys.halves()
  batches = [
    split.take(half, jnp.arange(8), parts.mean, parts.std)
    for half in (train, valid)
  ]
  count, step = [], jax.jit(search.step)
  for _ in range(3):
    now = search.clock(state, parts)
    on = subnetworks.drawn(state.arch, now, 2)
    new = step(state, KEY, *batches, parts)
    before, after = state.params, new.params
    for kind, path in on.items():
      moved = np.asarray(before['alphas'][kind] != after['alphas'][kind])
      np.testing.assert_array_equal(moved, path)
    held = instances.spread(
      jax.tree.map(jnp.logical_not, on), parts.net, before['weights']
    )
    still = jax.tree.map(
      lambda h, a, b: bool(jnp.all(jnp.where(h, a == b, True))),
      held,
      before['weights'],
      after['weights'],
    )
    assert all(jax.tree.leaves(still))
    counts = optax.tree_utils.tree_get_all_with_path(new.opt, 'count')
    count.append([int(n) for _, n in counts])
    state = new
  assert {n for step in count[::2] for n in step} == {1}
  assert set(count[1]) == {2}

"""Every method searches the smaller spaces too, or refuses in a sentence."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.networks import columns
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import evolve
from tests.golden import given

FIELDS = {
  **{'model.channels': 8, 'sharpness.every': 2, 'sharpness.of': 'alphas'},
  'weights.drop_path': 0.0,
}
# Who draws not all edges.
PATHS = 'spos', 'random_ws', 'enas'
SMALL = 'darts7', 's1', 's2', 's3', 's4'
KEY, NOW = jax.random.key(0), given.now(1, 2)
MADE = {name: methods.make(name, {}) for name in methods.METHODS}
CASES = [
  (name, space)
  for space in SMALL
  for name, method in MADE.items()
  if not method.refuse(SPACES[space], FIELDS)
]


def test_who_refuses():
  refused = {
    space: [n for n in MADE if (n, space) not in CASES] for space in SMALL
  }
  # These count `none` among the operations; S4 has no skip, S3 has `none`.
  assert set(refused['s1']) >= {'p_darts', 'sgas'}
  assert set(refused['s3']) == {
    n for n, m in MADE.items() if m.refuse(SPACES['s3'], FIELDS)
  }
  assert {'darts_minus', 'darts_plus'} <= set(refused['s4'])
  for space, names in refused.items():
    for name in names:
      said = MADE[name].refuse(SPACES[space], FIELDS)
      assert space in said and ':' in said, said


@pytest.mark.parametrize('name, space', CASES)
def test_what_an_edge_does_not_have_is_neither_mixed_nor_found(name, space):
  method, own = MADE[name], SPACES[space]
  net = supernet.Supernet(own, 10, channels=8, layers=3, **method.model)
  arch = method.init(np.random.default_rng(0), net, 1.0)
  for kind in own.kinds:
    assert not arch.mask[kind][..., ~own.alive(kind)].any()

  @jax.jit
  def seen(arch):
    def size(alphas):
      here = arch._replace(alphas=alphas)
      mix = method.draw(KEY, here, NOW, 'alphas')
      squares = sum(jnp.sum(mix[kind] ** 2) for kind in own.kinds)
      return squares + method.penalty(here, mix, NOW), mix

    grads, mix = jax.grad(size, has_aux=True)(arch.alphas)
    return (method.relax(arch, NOW), mix), grads

  mixes, grads = jax.device_get(seen(arch))
  for kind in own.kinds:
    alive = own.alive(kind)
    assert np.isfinite(grads[kind]).all()
    assert np.abs(grads[kind][..., ~alive]).max(initial=0) < 1e-6  # rounded
    for mix in mixes:
      p = mix[kind][..., : alive.shape[-1]]
      assert np.isfinite(p).all() and not p[..., ~alive].any()
      there = p.sum(axis=-1) > 0
      assert there.any() if name in PATHS else there.all()
  found = method.discretize(own, arch, mixes[0])
  fields = json.loads(json.dumps(found.fields))
  assert type(found).read(fields) == found
  for cell, graph in found.graphs.items():
    kind = cell if cell in own.kinds else net.cells[int(cell[4:])]
    offered = own.offered(kind)
    for operation, *edge in graph.edges:
      assert operation in offered[own.edges.index(tuple(edge))]


def test_a_random_cell_is_of_what_its_edges_have():
  space = SPACES['s1']
  for seed in range(5):
    for kind, graph in evolve.random(space, seed).graphs.items():
      for operation, *edge in graph.edges:
        row = space.edges.index(tuple(edge))
        assert operation in space.offered(kind)[row]


@pytest.mark.parametrize('more', [{'partial': 2}, {'auxiliary': True}])
def test_weights_are_those_of_each_edge_s_own_operations(more):
  """With columns behind the primitives' too."""
  net = supernet.Supernet(SPACES['s1'], 10, channels=4, layers=3, **more)
  whole = supernet.Supernet(SPACES['darts7'], 10, channels=4, layers=3, **more)
  sizes = []
  for one in (net, whole):
    shape = len(one.space.edges), columns.count(one)
    mix = {kind: jnp.zeros(shape) for kind in one.space.kinds}
    sizes.append(sizing.size(sizing.shapes(one, (8, 8, 3), mix)['params']))
  assert sizes[0] < sizes[1] / 2

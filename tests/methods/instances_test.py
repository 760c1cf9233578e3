"""Whose rows a supernet's parameters are, and weights that stand still."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax.data import split
from sdnas_jax.methods import instances
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests import toys
from tests.golden import filling

NETS = {
  'darts': supernet.Supernet(SPACES['darts'], 10, channels=4, layers=5),
  'nasbench201': nasbench201.Supernet(
    SPACES['nasbench201'], 10, channels=4, layers=1
  ),
}
KINDS = {
  'darts': ['normal', 'reduce', 'normal', 'reduce', 'normal'],
  'nasbench201': ['cell', None, 'cell', None, 'cell'],
}


def told(space, name):
  """(kind, cell among its kind's, edge, primitive) of a page's parameter."""
  cell, edge, operation, _ = name.split('/')
  number, own = int(cell.removeprefix('cell')), SPACES[space]
  kind = KINDS[space][number]
  if '<-' in edge:
    target, source = map(int, edge.split('<-'))
    edge = own.edges.index((source, target))
  else:
    edge = int(edge.removeprefix('edge'))
  before = KINDS[space][:number].count(kind)
  return kind, before, edge, own.primitives.index(operation)


@pytest.mark.parametrize('space', NETS)
def test_rows_are_those_of_the_authors_parameters(space):
  """As the golden pages name them, and no others."""
  net, place = NETS[space], getattr(filling, space)
  mix = {kind: jnp.zeros(net.space.shape) for kind in net.space.kinds}
  params = sizing.shapes(net, (16, 16, 3), mix)['params']
  flat, _ = jax.tree_util.tree_flatten_with_path(params)
  owners = instances.owners(net, params)
  found = {
    '/'.join(key.key for key in path): rows
    for (path, _), rows in zip(flat, owners, strict=True)
  }
  seen = {path: 0 for path in found}
  for name in filling.load(space)['net/param_names']:
    path, row = place(str(name))
    rows = found[path]
    if rows is None:
      continue
    own = int(rows.edges[row]), int(rows.primitives[row])
    assert (rows.kind, rows.cell, *own) == told(space, name)
    seen[path] += 1
  for path, rows in found.items():
    assert seen[path] == (0 if rows is None else len(rows.edges))
    assert (rows is None) == ('/from' not in path)


def test_what_a_method_holds_stands_still():
  """No gradient, decay or momentum; the rest moves as it would."""
  plain = toys.setup('gdas', layers=3, weight=0.0)  # two of one kind
  held = dataclasses.replace(
    plain.method,
    held=lambda own, mix: {kind: p == 0 for kind, p in mix.items()},
  )
  held = dataclasses.replace(plain, method=held)
  train, valid = toys.halves()
  batch = split.take(train, jnp.arange(8), plain.mean, plain.std)
  other = split.take(valid, jnp.arange(8), plain.mean, plain.std)
  step, key = jax.jit(search.step), jax.random.key(3)
  begun = step(toys.state(plain), jax.random.key(2), batch, other, plain)
  usual = step(begun, key, batch, other, plain)
  after = step(begun, key, batch, other, held)
  now = search.clock(begun, plain)
  keys = jax.random.split(key, 3)
  mix = plain.method.draw(keys[1], begun.arch, now, 'weights')
  stood = 0
  for tree in (lambda s: s.params['weights'], momentum):
    old, free, new = map(tree, (begun, usual, after))
    for cell, kind in (
      ('cell0', 'normal'),
      ('cell1', 'reduce'),
      ('cell2', 'reduce'),
    ):
      for source in range(3):
        for n, edge in enumerate(toys.SPACE.leaving(source)):
          own = f'from{source}'
          dead = np.asarray(mix[kind][edge] == 0)
          rows = blocks(*(x[cell][own] for x in (old, free, new)))
          for column, o, f, w in rows:
            stood += dead[column]
            assert not np.array_equal(o[n], f[n])
            np.testing.assert_allclose(
              w[n], o[n] if dead[column] else f[n], rtol=1e-4, atol=1e-6
            )
            assert np.array_equal(w[n], o[n]) == dead[column]
    jax.tree.map(
      lambda f, w: np.testing.assert_allclose(w, f, rtol=1e-4, atol=1e-6),
      *(x['stem'] for x in (free, new)),
    )
  assert stood


def momentum(state):
  return optax.tree_utils.tree_get(state.opt, 'trace')['weights']


def blocks(old, free, new):
  """(primitive's column, and its rows in the three trees)."""
  skip, conv = 2, 3  # of the toy's
  flat, _ = jax.tree_util.tree_flatten_with_path(old)
  for (path, o), f, w in zip(
    flat, *map(jax.tree.leaves, (free, new)), strict=True
  ):
    yield skip if path[0].key == 'skip' else conv, o, f, w

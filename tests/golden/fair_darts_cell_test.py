"""Cells whose nodes have 0, 1 or 2 pairs against FairDARTS's released code.

In float64; README.md beside this file tells where the arrays are from.
"""

import pathlib

import jax
import numpy as np
import pytest

from sdnas_jax.networks import derived
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

GOLDEN = np.load(pathlib.Path(__file__).with_name('fair_darts.npz'))
NETWORKS = sorted(
  {name.split('/')[1][0] for name in GOLDEN if 'published' in name}
)


def genotype(**rows):
  """From rows of (operation, target, source)."""
  names = GOLDEN['meta/primitives'].tolist()
  cells = {
    kind: {
      node: [(names[op], i) for op, j, i in table if j == node]
      for node in range(2, 6)
    }
    for kind, table in rows.items()
  }
  return spaces.Genotype.of(SPACES['darts'], cells)


@pytest.mark.parametrize('name', NETWORKS)
def test_sizes(name):
  kinds = 'normal', 'reduce'
  found = genotype(**{k: GOLDEN[f'geno_published/{name}_{k}'] for k in kinds})
  shapes = sizing.shapes(derived.Derived(found, 10), (32, 32, 3))['params']
  head = sizing.size(shapes.pop('auxiliary'))
  expected = [
    GOLDEN[f'count/eval_{name}_{part}']
    for part in ('C36_L20', 'auxiliary_head')
  ]
  assert [sizing.size(shapes), head] == expected


def order(path):
  """Sorts as the release does: convolutions, then scale, then bias."""
  name = jax.tree_util.keystr(path, simple=True, separator='/')
  return name.replace('Norm_0/scale', '~1').replace('Norm_0/bias', '~2')


def filled(shapes, graph, group):
  """The release's parameters in our layout.

  It calls the operation from node I to J _ops.J.I.0; its kernels are [out, in,
  height, width].
  """
  names = [n for n in GOLDEN if n.startswith(f'{group}/param/')]
  edges = [f'_ops.{j}.{i}.0' for _, i, j in graph.live.edges]
  halves = 'FactorizedReduce_0' in shapes
  places = {
    'preprocess0': 'FactorizedReduce_0' if halves else 'ReluConvNorm_0',
    'preprocess1': f'ReluConvNorm_{1 - halves}',
    **{edge: f'Operation_{n}' for n, edge in enumerate(edges)},
  }
  used, params = set(), {}
  for theirs, ours in places.items():
    own = [n for n in names if n.startswith(f'{group}/param/{theirs}.')]
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes.get(ours, {}))
    ranks = sorted(range(len(leaves)), key=lambda n: order(leaves[n][0]))
    arrays = [None] * len(leaves)
    for name, rank in zip(own, ranks, strict=True):
      x = GOLDEN[name]
      x = x.transpose(2, 3, 1, 0) if x.ndim == 4 else x
      arrays[rank] = x.reshape(leaves[rank][1].shape)
    used |= {*own}
    if leaves:
      params[ours] = jax.tree.unflatten(tree, arrays)
  assert used == {*names} and params.keys() == shapes.keys()
  return params


@pytest.mark.parametrize(
  'group, drops',
  [('cell_normal', False), ('cell_reduce', False), ('cell_normal', True)],
)
def test_a_cell(group, drops, monkeypatch):
  masks = iter(GOLDEN[f'{group}/drop_mask'] if drops else ())

  def dropped(self, name, x, shape):
    kept = next(masks).reshape(shape)
    return x * kept / (1 - GOLDEN[f'{group}/drop_p'])

  if drops:
    monkeypatch.setattr(ops.Context, 'dropped', dropped)
  with jax.enable_x64(True):
    rows = GOLDEN[f'{group}/genotype']
    graph = genotype(normal=rows).graphs['normal']
    assert list(graph.outputs) == GOLDEN[f'{group}/nodes'].tolist()
    reduction = group == 'cell_reduce'
    cell = derived.Cell(graph, 4, reduction, reduction, drop_nodes=drops)
    s0, s1 = (
      GOLDEN[f'{group}/{s}'].transpose(0, 2, 3, 1)[None] for s in ('s0', 's1')
    )
    context = ops.context(s0[0], True, None, 'grouped', False)
    given = s0, s1, context
    plain = cell.clone(drop_nodes=False)
    with monkeypatch.context() as patch:
      patch.setattr(ops.Context, 'dropped', lambda self, name, x, shape: x)
      shapes = jax.eval_shape(plain.init, jax.random.key(0), *given)
    variables = {
      'params': filled(shapes['params'], graph, group),
      'batch_stats': jax.tree.map(
        lambda x: np.zeros(x.shape), shapes['batch_stats']
      ),
    }
    out, _ = cell.apply(variables, *given, mutable=['batch_stats'])
    found = np.asarray(out[0]).transpose(0, 3, 1, 2)
  assert found.dtype == np.float64
  told = GOLDEN[f'{group}/{"y_drop" if drops else "y"}']
  np.testing.assert_allclose(found, told, rtol=0, atol=1e-9)
  assert not [*masks]  # one a node

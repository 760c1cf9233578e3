"""The weights of a supernet's operations, by cell, edge and primitive.

A parameter of a mixed operation holds many of them as rows of its first axis;
see `networks.ops`. Tables here are one for each kind of cell: [cells of the
kind, edges, primitives], or [edges, primitives] where all its cells are alike.
"""

from collections.abc import Mapping
import re
from typing import Any
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import ops

Tree = Any
# What a mixed operation's parts stack; others are called as their primitive.
STACKED = {
  **{'first': ops.TWICE, 'second': ops.TWICE, 'once': ops.ONCE},
  **{'skip': ('skip_connect',), 'Norm_0': nasbench201.CONVOLUTIONS},
}


class Rows(NamedTuple):
  """Where a parameter's rows belong."""

  kind: str
  cell: int  # among its kind's
  edges: np.ndarray  # [rows]
  primitives: np.ndarray  # [rows]


def owners(net: nn.Module, params: Tree) -> list[Rows | None]:
  """Of each leaf of a supernet's parameters; None for those of no operation."""
  names = [name for name in params if 'cell' in name]
  names.sort(key=lambda name: [int(n) for n in re.findall(r'\d+', name)])
  kinds = dict(zip(names, enumerate(net.cells), strict=True))
  primitives = net.space.primitives
  groups = {
    kind: {group.name: group for group in net.space.groups(kind)}
    for kind in net.space.kinds
  }

  def owner(path):
    cell, name, *inner = [key.key for key in path]
    if cell not in kinds or not name.startswith('from'):
      return None
    number, kind = kinds[cell]
    group = groups[kind][name]
    block, *_, leaf = [name for name in inner if name != 'mixed']
    members = [n for n in STACKED.get(block, (block,)) if n in group.primitives]
    if 'depthwise' in leaf:
      members = [name for name in members if name[-3:] in leaf]
    if not members:  # of an auxiliary skip
      return None
    columns = [primitives.index(name) for name in members]
    columns, edges = np.meshgrid(columns, group.edges, indexing='ij')
    place = kind, net.cells[:number].count(kind)
    return Rows(*place, edges.ravel(), columns.ravel())

  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return [owner(path) for path, _ in leaves]


def spread(
  tables: Mapping[str, jax.Array], net: nn.Module, params: Tree
) -> Tree:
  """A table's entries for each parameter's rows; False where it has no owner.

  Returns:
    A tree like the parameters, of what broadcasts against them.
  """

  def one(rows, leaf):
    if rows is None:
      return jnp.zeros((), bool)
    table = tables[rows.kind]
    table = table if table.ndim == 2 else table[rows.cell]
    own = table[rows.edges, rows.primitives]
    return own.reshape(-1, *[1] * (leaf.ndim - 1))

  leaves, tree = jax.tree.flatten(params)
  return tree.unflatten(list(map(one, owners(net, params), leaves)))

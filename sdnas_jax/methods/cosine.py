"""How far two gradients of an operation's weights agree."""

import math

import jax
import jax.numpy as jnp

LEAST = 1e-8  # of a vector's norm


def agreement(a, b, owners, like):
  """The mean cosine of two trees' parts, for each operation of each cell.

  Args:
    a, b: trees like the supernet's parameters.
    owners: `instances.owners`'s list.
    like: tables [cells, edges, primitives] for each kind.

  Returns:
    Such tables: the mean over an operation's kernels of the mean over their
    positions and inputs of the cosine of the vectors along the outputs; 0 for
    operations without weights.
  """
  total = jax.tree.map(jnp.zeros_like, like)
  count = total
  leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), owners, strict=True)
  for x, y, rows in leaves:
    if rows is None or math.prod(x.shape[1:-1]) == 1:  # a bias
      continue
    place = rows.cell, rows.edges, rows.primitives
    own = cosine(x, y).reshape(len(x), -1).mean(axis=1)
    total = total | {rows.kind: total[rows.kind].at[place].add(own)}
    count = count | {rows.kind: count[rows.kind].at[place].add(1)}
  return jax.tree.map(lambda s, n: s / jnp.maximum(n, 1), total, count)


def cosine(x, y):
  """Of vectors along the last axis; 0 where one is zero."""
  sizes = (jnp.linalg.norm(v, axis=-1) for v in (x, y))
  a, b = (jnp.maximum(size, LEAST) for size in sizes)
  return jnp.sum(x * y, axis=-1) / (a * b)

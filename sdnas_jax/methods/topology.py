"""Which edges a node keeps: the two strongest, in ascending order."""

import numpy as np

from sdnas_jax.methods import method

EDGES = 2  # that a node keeps


def init(rng, space, tables, scale):
  """DARTS's architecture, and the node that each edge enters."""
  arch = method.normal(rng, space, tables, scale)
  return arch._replace(own={'targets': method.targets(space)})


def strongest(space, strength):
  """Every node's two edges of the largest strength.

  Of equal edges the earlier one; an edge of strength -inf is gone.
  """
  found = []
  for node in space.targets:
    order = sorted(space.entering(node), key=lambda e: -strength[e])
    found += sorted(e for e in order[:EDGES] if strength[e] > -np.inf)
  return found


def decided_first(alive, strength):
  """The strength of undecided edges; that of decided ones is infinite."""
  left = alive.sum(axis=-1)
  return np.select([left == 0, left == 1], [-np.inf, np.inf], strength)

"""Which edges a node keeps: two, here in ascending order.

DARTS's own rule, which lists the stronger first, is the space's.
"""

import numpy as np

from sdnas_jax.methods import method
from sdnas_jax.spaces import space as spaces

EDGES = 2  # that a node keeps


def init(rng, net, scale):
  """DARTS's architecture, and the node that each edge enters."""
  arch = method.normal(rng, net, scale)
  return arch._replace(own={'targets': method.targets(net.space)})


def pruned(space):
  """The nodes that lose edges, int32; NAS-Bench-201's keep all."""
  crowded = [n for n in space.targets if len(space.entering(n)) > EDGES]
  loses = space.genotype is spaces.Genotype
  return np.array(crowded if loses else [], np.int32)


def strongest(space, strength):
  """Every node's two edges of the largest strength.

  Of equal edges the earlier one; an edge of strength -inf is gone.
  """
  found = []
  for node in space.targets:
    order = sorted(space.entering(node), key=lambda e: -strength[e])
    found += sorted(e for e in order[:EDGES] if strength[e] != -np.inf)
  return found


def decided_first(alive, strength):
  """The strength of undecided edges; that of decided ones is infinite."""
  left = alive.sum(axis=-1)
  return np.select([left == 0, left == 1], [-np.inf, np.inf], strength)

"""Selection by removal: what costs the supernet the most accuracy is kept.

First an operation on every edge, then two edges at every node, drawn in turn.
"""

import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import pruning
from sdnas_jax.methods.topology import EDGES


def decided(kind, arch, look, seed):
  """After one more decision of a kind, the last of which are its nodes'."""
  undecided = pruning.undecided(arch.mask[kind]).any()
  decide = operation if undecided else edges
  alive = decide(kind, arch, look, seed)
  return arch._replace(mask=arch.mask | {kind: alive})


def operation(kind, arch, look, seed):
  """The mask where one more edge keeps one operation."""
  alive = arch.mask[kind]
  edge = drawn(arch, kind, np.flatnonzero(pruning.undecided(alive)), seed)
  each = np.flatnonzero(alive[edge])
  seen = [without(kind, arch, look, (edge, o)) for o in each]
  return pruning.decided(alive, edge, each[np.argmin(seen)])


def edges(kind, arch, look, seed):
  """The mask where one more node keeps two edges, if one has more."""
  alive, targets = arch.mask[kind].copy(), arch.own['targets']
  entered = targets[alive.any(axis=-1)]
  full = [n for n in arch.own['pruned'] if np.sum(entered == n) > EDGES]
  if full:
    own = np.flatnonzero(targets == drawn(arch, kind, np.array(full), seed))
    seen = [without(kind, arch, look, e) for e in own]
    alive[own[np.argsort(seen, kind='stable')[EDGES:]]] = False
  return alive


def without(kind, arch, look, place):
  """The accuracy without an edge, or an (edge, operation), of a kind."""
  mix = {k: np.array(p) for k, p in archs.softmax(arch, None).items()}
  mix[kind][place] = 0
  return look(mix)


def drawn(arch, kind, among, seed):
  """One at random, by a generator that has drawn for all decisions before."""
  kinds, rng = list(arch.mask), np.random.RandomState(seed)
  edges, nodes = len(arch.own['targets']), len(arch.own['pruned'])
  sizes = [*range(edges, 0, -1), *range(nodes, 0, -1)]
  undecided = pruning.undecided(arch.mask[kind]).any()
  made = sizes.index(len(among), 0 if undecided else edges)
  earlier = [size for size in sizes for _ in kinds]
  for size in earlier[: made * len(kinds) + kinds.index(kind)]:
    rng.choice(size, size=1)
  return among[rng.choice(len(among), size=1)[0]]

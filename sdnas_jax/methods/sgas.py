"""SGAS: decides one edge at a time, greedily (Li et al., CVPR 2020).

After `warmup` epochs and every `interval` from then on, the undecided edge of
each kind with the highest score keeps its best operation, at weight 1. Where a
node has two, the other edges that enter it go. What is decided has alphas that
rest. Criterion 1 scores by importance and certainty, criterion 2 by how little
the last epochs changed besides.
"""

import numpy as np

from sdnas_jax.methods import criteria
from sdnas_jax.methods import method
from sdnas_jax.methods import pruning
from sdnas_jax.methods import topology


def sgas(
  criterion: int = 1, warmup: int = 9, interval: int = 5, history: int = 4
) -> method.Method:
  """Decides after epochs `warmup`, `warmup` + `interval`, ... (from 0)."""
  if criterion not in (1, 2) or min(warmup, interval, history) < 1:
    raise ValueError('criterion must be 1 or 2, the others at least 1')

  def revise(past, arch, look):
    since, mask = len(past.metrics) - 1 - warmup, dict(arch.mask)
    waiting = [k for k, m in mask.items() if pruning.undecided(m).any()]
    if since < 0 or since % interval or not waiting:
      return None
    for kind in waiting:
      before = past.alphas[kind][-1 - history : -1] if criterion == 2 else None
      alphas, targets = arch.alphas[kind], arch.own['targets']
      own = criteria.score(criteria.softmax(alphas), before)
      mask[kind] = pruning.greedy(mask[kind], own, alphas, targets)
    return method.Revision(arch=arch._replace(mask=mask))

  return method.Method(
    revise=revise,
    init=topology.init,
    settle=method.resting,
    discretize=discretize,
    refuse=method.first_none(
      'it prunes edges, and cells of {} keep all: take darts'
    ),
  )


def discretize(space, arch, mix):
  """The edges decided, and the most important of nodes that lack some."""
  found = {}
  for kind in space.kinds:
    alive, p = arch.mask[kind], criteria.softmax(arch.alphas[kind])
    order = topology.decided_first(alive, criteria.importance(p))
    best = 1 + np.where(alive, p, -1)[:, 1:].argmax(axis=-1)
    found[kind] = [(e, best[e]) for e in topology.strongest(space, order)]
  return method.genotype(space, found)

"""SGAS: decides one edge at a time, greedily (Li et al., CVPR 2020).

After `warmup` epochs and every `interval` from then on, the undecided edge of
each kind with the highest score keeps its best operation, at weight 1. Where a
node has two, the other edges that enter it go. What is decided has alphas that
rest. Criterion 1 scores by importance and certainty, criterion 2 by how little
the last epochs changed besides.
"""

import math

import numpy as np
from scipy import special

from sdnas_jax.methods import method
from sdnas_jax.methods.method import Method
from sdnas_jax.methods.method import Revision

EDGES = 2  # that a node keeps


def sgas(
  criterion: int = 1, warmup: int = 9, interval: int = 5, history: int = 4
) -> Method:
  """Decides after epochs `warmup`, `warmup` + `interval`, ... (from 0)."""
  if criterion not in (1, 2) or min(warmup, interval, history) < 1:
    raise ValueError('criterion must be 1 or 2, the others at least 1')

  def revise(past, arch, look):
    since, mask = len(past.metrics) - 1 - warmup, dict(arch.mask)
    waiting = [k for k, m in mask.items() if (m.sum(axis=-1) > 1).any()]
    if since < 0 or since % interval or not waiting:
      return None
    for kind in waiting:
      before = past.alphas[kind][-1 - history : -1] if criterion == 2 else None
      alphas, own = arch.alphas[kind], score(softmax(arch.alphas[kind]), before)
      mask[kind] = decided(alphas, mask[kind], own, arch.own['targets'])
    return Revision(arch=arch._replace(mask=mask))

  return Method(
    revise=revise,
    init=init,
    settle=method.resting,
    discretize=discretize,
    refuse=method.alone(
      'it prunes edges, and cells of {} keep all: take darts'
    ),
  )


def init(rng, space, tables, scale):
  """DARTS's, and where edges lead."""
  arch = method.normal(rng, space, tables, scale)
  return arch._replace(own={'targets': method.targets(space)})


def softmax(alphas):
  """Over the last axis."""
  return special.softmax(np.float64(alphas), axis=-1)


def importance(p):
  """S_EI: all weights but that of `none`, the first: equation 2."""
  return p[..., 1:].sum(axis=-1)


def certainty(p):
  """S_SC: 1 minus the normalised entropy of the others: equations 3 and 4."""
  q = others(p)
  return 1 + (q * np.log(q)).sum(axis=-1) / math.log(q.shape[-1])


def stability(p, before):
  """S_SS: the mean overlap with tables of the past: equation 6."""
  if not len(before):
    return np.zeros(len(p))
  overlap = np.minimum(others(softmax(before)), others(p))
  return overlap.sum(axis=-1).mean(axis=0)


def others(p):
  """The distribution over all operations but `none`."""
  return p[..., 1:] / importance(p)[..., None]


def score(p, before=None):
  """Of all edges; with the alphas of epochs before, criterion 2."""
  parts = [importance(p), certainty(p)]
  parts += [] if before is None else [stability(p, before)]
  return np.prod([normalised(part) for part in parts], axis=0)


def normalised(x):
  """To [0, 1] over all edges; 0 where they are equal."""
  span = x.max() - x.min()
  return (x - x.min()) / span if span else np.zeros_like(x)


def decided(alphas, alive, own, targets):
  """The mask after one more decision."""
  alive, waiting = alive.copy(), alive.sum(axis=-1) > 1
  edge = int(np.argmax(np.where(waiting, own, -np.inf)))
  alive[edge] = np.arange(alive.shape[1]) == 1 + alphas[edge, 1:].argmax()
  entering = targets == targets[edge]
  if np.sum(entering & (alive.sum(axis=-1) == 1)) >= EDGES:
    alive[entering & (alive.sum(axis=-1) > 1)] = False
  return alive


def discretize(space, arch, mix):
  """The edges decided, and the most important of nodes that lack some."""
  found = {}
  for kind in space.kinds:
    alive, p = arch.mask[kind], softmax(arch.alphas[kind])
    chosen = np.where(alive.sum(axis=-1) == 1, np.inf, importance(p))
    chosen = np.where(alive.any(axis=-1), chosen, -np.inf)
    found[kind] = [
      (int(e), int(np.where(alive, p, -1)[e, 1:].argmax()) + 1)
      for node in space.targets
      for edges in [np.array(space.entering(node))]
      for e in np.sort(edges[np.argsort(-chosen[edges], kind='stable')[:EDGES]])
      if alive[e].any()
    ]
  return method.genotype(space, found)

"""DARTS+: stops when the normal cell has skips enough (Liang et al. 2019).

The search ends with the first epoch whose normal cell, as it would be derived,
has at least `skips` skip connections (arXiv 1909.06035, criterion 1), of which
a DARTS that goes on finds ever more. With `stable`, criterion 2 counts besides:
on every edge the operations with weights have been ranked alike for so many
epochs. No code was released; all else is DARTS.
"""

import numpy as np

from sdnas_jax.methods import method


def darts_plus(skips: int = 2, stable: int = 0) -> method.Method:
  """Stops at `skips` in the normal cell, or after `stable` epochs of one order.

  0 leaves a criterion out; the paper's second takes 10 epochs.
  """
  if min(skips, stable) < 0 or not skips + stable:
    raise ValueError('skips and stable must be at least 0, one of them more')

  def revise(history, arch, look):
    done = len(history.metrics)
    if not done or done == history.epochs:
      return None
    many = skips and count(history.genotypes[-1]) >= skips
    settled = stable and unmoved(history.alphas, arch.own['learn'], stable)
    return method.Revision(stop=done - 1) if many or settled else None

  return method.Method(init=init, revise=revise, refuse=refuse)


def init(rng, net, scale):
  """DARTS's, and which operations have weights."""
  learn = np.array(['conv' in name for name in net.space.primitives])
  return method.normal(rng, net, scale)._replace(own={'learn': learn})


def count(genotype):
  """The skip connections of the first kind of cell: the normal one."""
  graph = next(iter(genotype.graphs.values()))
  return sum(kind == 'skip_connect' for kind, _, _ in graph.edges)


def unmoved(alphas, learn, epochs):
  """Whether those of every edge have been ranked alike so long."""
  tables = [table[-1 - epochs :, ..., learn] for table in alphas.values()]
  ranks = [np.argsort(-a, axis=-1, kind='stable') for a in tables]
  return all(len(r) > epochs and (r == r[-1]).all() for r in ranks)


def refuse(space, fields):
  """Where there is nothing to count."""
  why = f'the space {space.name} has no skip_connect: choose another'
  return '' if 'skip_connect' in space.primitives else why

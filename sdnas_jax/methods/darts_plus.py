"""DARTS+: stops when the normal cell has skips enough (Liang et al. 2019).

The search ends with the first epoch whose normal cell, as it would be derived,
has at least `skips` skip connections (arXiv 1909.06035, criterion 1); they are
what a DARTS that goes on collapses to. With `stable`, criterion 2 counts
besides: the operations' order on every edge has been the same for so many
epochs. No code was released. All else is DARTS.
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
    settled = stable and unmoved(history.alphas, arch.mask, stable)
    return method.Revision(stop=done - 1) if many or settled else None

  return method.Method(revise=revise, refuse=refuse)


def count(genotype):
  """The skip connections of the first kind of cell: the normal one."""
  graph = next(iter(genotype.graphs.values()))
  return sum(kind == 'skip_connect' for kind, _, _ in graph.edges)


def unmoved(alphas, mask, epochs):
  """Whether every edge has ranked what is alive on it alike so long."""
  return all(
    len(alphas[kind]) > epochs and (ranks == ranks[-1]).all()
    for kind, alive in mask.items()
    for ranks in [order(alphas[kind][-1 - epochs :], alive)]
  )


def order(alphas, alive):
  """The operations of every row, the strongest first; dead ones last."""
  return np.argsort(np.where(alive, -alphas, np.inf), axis=-1, kind='stable')


def refuse(space, fields):
  """Where there is nothing to count."""
  has = 'skip_connect' in space.primitives
  return '' if has else f'the space {space.name} has no skip_connect'

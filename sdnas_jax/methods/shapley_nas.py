"""Shapley-NAS: alphas by what operations add to accuracy (Xiao et al. 2022).

Shapley-NAS: Discovering Operation Contribution for Neural Architecture Search,
CVPR 2022: methods/contribution.py has its equations. Once a share of `warmup`
of the epochs is done, each begins with an estimate; no alpha has a gradient.
Channels are PC-DARTS's, without weights of edges. Otherwise in the release:
pools are not normalised; in every other epoch it estimates by the running
statistics, here by those of batches of the search's size.
"""

from functools import partial

import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import channels
from sdnas_jax.methods import contribution
from sdnas_jax.methods import method
from sdnas_jax.methods import paths


def shapley_nas(
  k: int = 4,
  warmup: float = 0.5,
  samples: int = 10,
  images: int = 1024,
  threshold: float = 0.5,
  momentum: float = 0.8,
  step: float = 0.1,
  last: bool = False,
) -> method.Method:
  """Estimates by `samples` orders, each on so many `images`, augmented.

  An order ends below `threshold` of its first accuracy. With `last` an edge
  keeps its last operation, as in the authors' code for ImageNet.
  """
  if min(samples - 1, images - 1, k - 2) < 0:
    raise ValueError('k must be at least 2, samples and images 1')
  if not (0 <= warmup < 1 and 0 <= momentum < 1):
    raise ValueError('warmup and momentum must be in [0, 1)')
  relax = partial(channels.beside, archs.softmax, True)

  def revise(history, arch, look):
    done, epochs = len(history.metrics), history.epochs
    if not warmup * epochs <= done < epochs:
      return None
    rng = np.random.default_rng((int(arch.own['seed']), done))
    order = contribution.orders(rng, arch.mask, samples)
    values = contribution.table(
      *(relax(arch, None), arch.mask, order),
      *(lambda mix, n: look(mix, n, images), threshold, last),
    )
    v = contribution.pessimistic(values)
    return method.Revision(arch=contribution.moved(arch, v, momentum, step))

  parts = channels.partial(k)
  moves = {'moves': paths.never, 'init': contribution.init}
  return method.Method(relax=relax, revise=revise, **parts, **moves)

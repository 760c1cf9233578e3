"""P-DARTS: deeper networks of fewer operations by stages (Chen et al. 2019).

Three stages of 5, 11 and 17 cells; each begins anew, with the operations that
the one before left: 8, 5, 3 an edge. Skips are held back by dropout, which
fades within a stage, and by a limit on those of the normal cell. What is
dropped stays in the network with a weight of 0, and is not computed.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.method import alone
from sdnas_jax.methods.method import genotype
from sdnas_jax.methods.method import Method
from sdnas_jax.methods.method import Revision

STAGES = (
  {'model.layers': 5, 'options.keep': 5, 'options.dropout': 0.1},
  {'model.layers': 11, 'options.keep': 3, 'options.dropout': 0.4},
  {'model.layers': 17, 'options.keep': 1, 'options.dropout': 0.7},
)
SHARED = {'carry': 'fresh', 'epochs': 25, 'alphas.warmup': 10}


def p_darts(
  keep: int = 5, dropout: float = 0.1, warmup: int = 10, skips: int = 2
) -> Method:
  """A stage that leaves `keep` operations an edge; skips limited at the end.

  `dropout` is the skips' at first, and `warmup` the epochs before it falls
  exponentially.
  """
  if keep < 1 or not 0 <= dropout < 1:
    raise ValueError('keep must be at least 1 and dropout in [0, 1)')

  def revise(history, arch, look):
    if len(history.metrics) < history.epochs:
      return None
    p = archs.softmax(arch, None)
    mask = {k: kept(np.asarray(p[k]), m, keep) for k, m in arch.mask.items()}
    return Revision(arch=arch._replace(mask=mask))

  return Method(
    sample=partial(sample, dropout=dropout, warmup=warmup),
    revise=revise,
    discretize=lambda space, arch, mix: discretize(space, mix, skips),
    stages=lambda space: tuple(SHARED | stage for stage in STAGES),
    refuse=alone('the depth of {} is fixed, and it deepens: take darts'),
  )


def sample(key, arch, now, group, dropout, warmup):
  """The expectation, with the skips' dropout in both groups' steps."""
  share = rate(now, dropout, warmup)
  return archs.softmax(arch, now) | {'skip_dropout': (key, share)}


def rate(now, dropout, warmup):
  """Of an epoch: linear while the alphas rest, then exponential."""
  rising = (now.epochs - now.epoch - 1) / now.epochs
  falling = jnp.exp(-0.2 * (now.epoch - warmup))
  return dropout * jnp.where(now.epoch < warmup, rising, falling)


def kept(p, alive, count):
  """The mask [edges, operations] of each edge's `count` strongest.

  `none` is dropped as any, but first where one is left.
  """
  p = np.where(alive, p, -1.0)
  if count == 1:
    p[:, 0] = -1.0
  # Of equals, the later ones stay.
  order = np.argsort(p, axis=-1, kind='stable')
  mask = np.zeros_like(alive)
  np.put_along_axis(mask, order[:, -count:], True, axis=-1)
  return mask & alive


def discretize(space, mix, skips):
  """Two edges a node in ascending order; at most so many skips if that can be.

  While the normal cell keeps more, the weakest of them is forbidden.
  """
  tables = {kind: np.array(mix[kind]) for kind in space.kinds}
  none, skip = (space.primitives.index(n) for n in ('none', 'skip_connect'))
  for p in tables.values():
    p[:, none] = 0
  while True:
    found = chosen(space, tables['normal'])
    those = [edge for edge, best in found if best == skip]
    if len(those) <= skips:
      break
    weakest = min(those, key=lambda edge: tables['normal'][edge, skip])
    tables['normal'][weakest, skip] = 0
  cells = {kind: chosen(space, p) for kind, p in tables.items()}
  return genotype(space, cells)


def chosen(space, p):
  """(edge, operation) of the two strongest edges a node, ascending.

  Of equal edges the later one, as in the authors' code.
  """
  found = []
  for node in space.targets:
    edges = space.entering(node)
    strongest = sorted(edges, key=lambda e: (p[e].max(), e))[-2:]
    found += [(e, int(p[e].argmax())) for e in sorted(strongest)]
  return found

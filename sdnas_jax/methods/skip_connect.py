"""Skips held back as P-DARTS does: by dropout, and by a limit in genotypes."""

import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import method
from sdnas_jax.methods import topology


def dropped(key, arch, now, group, dropout, warmup):
  """The expectation, with the skips' dropout in both groups' steps."""
  share = rate(now, dropout, warmup)
  return archs.softmax(arch, now) | {'skip_dropout': (key, share)}


def rate(now, dropout, warmup):
  """Of an epoch: linear while the alphas rest, then exponential."""
  rising = (now.epochs - now.epoch - 1) / now.epochs
  falling = jnp.exp(-0.2 * (now.epoch - warmup))
  return dropout * jnp.where(now.epoch < warmup, rising, falling)


def limited(space, mix, most):
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
    if len(those) <= most:
      break
    weakest = min(those, key=lambda edge: tables['normal'][edge, skip])
    tables['normal'][weakest, skip] = 0
  cells = {kind: chosen(space, p) for kind, p in tables.items()}
  return method.genotype(space, cells)


def chosen(space, p):
  """(edge, operation) of the two strongest edges a node, ascending.

  Of equal edges the later one, as in the authors' code.
  """
  rank = np.argsort(np.argsort(p.max(axis=-1), kind='stable'))
  return [(e, int(p[e].argmax())) for e in topology.strongest(space, rank)]

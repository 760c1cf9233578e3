"""Masks [edges, operations] that leave less alive.

An edge is undecided while several operations are alive on it, decided with one,
and gone with none.
"""

import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.method import Revision
from sdnas_jax.methods.topology import EDGES


def undecided(alive):
  """Which edges have a choice left."""
  return alive.sum(axis=-1) > 1


def decided(alive, edge, operation):
  """The mask where an edge has that operation only."""
  alive = alive.copy()
  alive[edge] = np.arange(alive.shape[1]) == operation
  return alive


def greedy(alive, score, weights, targets):
  """The mask where the undecided edge of the highest score is decided.

  Its best operation but `none` stays. Of a node that so has its two edges, the
  undecided ones go.
  """
  edge = int(np.argmax(np.where(undecided(alive), score, -np.inf)))
  alive = decided(alive, edge, 1 + weights[edge, 1:].argmax())
  entering = targets == targets[edge]
  if np.sum(entering & (alive.sum(axis=-1) == 1)) >= EDGES:
    alive[entering & undecided(alive)] = False
  return alive


def at_the_end(history, arch, look, count):
  """A `revise`: after a stage's last epoch `count` operations an edge are left.

  Where alphas go on, those of what is dropped are 0.
  """
  if not count or len(history.metrics) < history.epochs:
    return None
  p = archs.softmax(arch, None)
  mask = {k: kept(np.asarray(p[k]), m, count) for k, m in arch.mask.items()}
  alphas = {k: np.where(mask[k], a, 0) for k, a in arch.alphas.items()}
  return Revision(arch=arch._replace(alphas=alphas, mask=mask))


def kept(p, alive, count):
  """The mask of each edge's `count` strongest operations.

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

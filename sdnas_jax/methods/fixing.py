"""Edges that keep an operation for good, while their alphas go on moving.

In a method's own numbers `fixed` has each edge's operation, -1 where it is
free, and `rows` the alphas that it was fixed with: each [edges, ...] of a kind.
"""

import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.method import Revision


def free(arch):
  """The architecture with nothing fixed yet."""
  fixed = {k: np.full(m.shape[:-1], -1, np.int32) for k, m in arch.mask.items()}
  rows = {kind: arch.alphas[kind] for kind in arch.mask}
  return arch._replace(own={'fixed': fixed, 'rows': rows})


def early(past, arch, look, gap):
  """Fixes what leads by `gap`, and puts back the alphas of what was fixed."""
  alphas, fixed = {}, {}
  for kind, mask in arch.mask.items():
    before = arch.own['fixed'][kind]
    stay = before[..., None] >= 0
    a = np.where(stay, arch.own['rows'][kind], arch.alphas[kind])
    p = np.asarray(archs.alive(a, mask))
    second, first = np.moveaxis(np.sort(p, axis=-1)[..., -2:], -1, 0)
    new = (before < 0) & (first - second >= gap)
    fixed[kind] = np.where(new, p.argmax(axis=-1), before).astype(np.int32)
    alphas[kind] = a
  if all((operation < 0).all() for operation in fixed.values()):
    return None
  own = {'fixed': fixed, 'rows': alphas}
  return Revision(arch._replace(alphas=arch.alphas | alphas, own=own))

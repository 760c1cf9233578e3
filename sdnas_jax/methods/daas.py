"""DAAS: what the cut would take shrinks before it (Tian et al., PR 2021).

Discretization-aware architecture search: a node, of n edges of which two will
stay, is n sum_e b_e sum_o p_eo op_o, with p = softmax(f(2 alpha)) and b as in
`edges`; f cubes what is below -1. The alphas' loss has 0.1 lin (log H + 4 L)
besides: entropies of p and of b, more by the epoch. As released, normal cells
are weighed by the betas of reduction cells, and those by the normal cells'.
"""

import jax.numpy as jnp

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import edges
from sdnas_jax.methods.method import alone
from sdnas_jax.methods.method import Method


def daas() -> Method:
  """Its constants are of 50 epochs, and of others in proportion."""
  why = 'it decides which edges go, and cells of {} keep all: take darts'
  own = {'init': edges.init, 'discretize': edges.discretize}
  return Method(relax, penalty=penalty, moves=moves, refuse=alone(why), **own)


def ramps(now):
  """lin, from 0 to 1; log, which is 0 while the alphas rest: 7 of 50 epochs."""
  last, rest = now.epochs - 1, 7 * now.epochs // 50
  since = jnp.log(jnp.maximum(now.epoch + 1 - rest, 1))
  log = since / jnp.log(jnp.maximum(last - rest, 2))
  return now.epoch / jnp.maximum(last, 1), log, now.epoch >= rest


def moves(now):
  """The betas do from the start on."""
  alphas = dict.fromkeys(('normal', 'reduce'), ramps(now)[-1])
  return alphas | dict.fromkeys(('normal_betas', 'reduce_betas'), True)


def relax(arch, now):
  """[edges, operations]: n b p; p where a node keeps all its edges."""
  mix = {}
  for kind, alive in arch.mask.items():
    share = edges.shares(arch.alphas[f'{kind}_betas'], arch.own['targets'])
    mix[kind] = share[:, None] * archs.alive(logits(arch, kind), alive)
  return mix


def logits(arch, kind):
  x = 2 * arch.alphas[kind]
  return jnp.where(x < -1, x**3, x)


def penalty(arch, mix, now):
  """0.1 lin (log H + 4 L): sums over both kinds' edges and nodes."""
  (lin, log, _), H, L = ramps(now), 0.0, 0.0
  for kind, alive in arch.mask.items():
    H += jnp.sum(archs.entropy(logits(arch, kind), alive))
    L += edges.doubt(arch.alphas[f'{kind}_betas'], arch.own['targets'])
  return 0.1 * lin * (log * H + 4 * L)

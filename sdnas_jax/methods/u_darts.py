"""U-DARTS: as deep as it will be, path by path (Huang et al., Inf. Sci. 2023).

Uniform-space search: of cells of their own one operation an edge, drawn every
`period` steps, is trained, by second order and optimisers begun anew. An alpha
is the gate itself; those drawn pay `weight` sum gate c, the less the deeper: c
is 1 / (1 + depth) + 0.1 share of the weights. The authors' long links between
cells and their auxiliary head are not here, and pools stay normalised.
"""

from functools import partial

import jax.numpy as jnp
from scipy import special

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.methods import costs
from sdnas_jax.methods import method
from sdnas_jax.methods import subnetworks


def u_darts(weight: float = 0.0175, period: int = 100) -> method.Method:
  """Draws in an epoch's steps 0, `period`, 2 `period`, ..."""
  if period < 1:
    raise ValueError('period must be at least 1')
  return method.Method(
    relax=relax,
    sample=partial(sample, period=period),
    penalty=partial(penalty, weight=weight),
    hypergrad=hypergrad.second_order,
    settle=partial(subnetworks.settle, period=period),
    restarts=partial(subnetworks.begins, period=period),
    held=subnetworks.absent,
    init=init,
    discretize=subnetworks.genotype,
    model={'per_cell': True},
    refuse=method.alone('cells of {} are alike, its own are not: take darts'),
  )


def init(rng, net, scale):
  """Gates 0.1 sigmoid(N(0, 1)), whatever the scale."""
  arch, own = method.normal(rng, net, 1.0), subnetworks.own(rng, net)
  alphas = {k: special.expit(a) / 10 for k, a in arch.alphas.items()}
  return arch._replace(alphas=alphas, own=own | {'cost': costs.deep(net.space)})


def relax(arch, now):
  """The largest gate of each edge, [cells, edges, operations]."""
  return subnetworks.gates(arch, subnetworks.largest(arch))


def sample(key, arch, now, group, period):
  """Those on the paths that are drawn."""
  return subnetworks.gates(arch, subnetworks.drawn(arch, now, period))


def penalty(arch, mix, now, weight):
  """weight sum gate c, of those drawn."""
  return weight * sum(jnp.sum(mix[k] * arch.own['cost']) for k in arch.mask)

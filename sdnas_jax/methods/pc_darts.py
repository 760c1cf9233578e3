"""PC-DARTS: partial channels, and weights of edges (Xu et al., ICLR 2020).

The operations see the first C/k channels, the others pass by, and what this
makes noisier is steadied by a second softmax, over the edges that enter a node,
sum_e b_e sum_o p_eo op_o. In NAS-Bench-201's space, for which no code was
released, the same is done.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import channels
from sdnas_jax.methods import topology
from sdnas_jax.methods.method import Method


def pc_darts(k: int = 4) -> Method:
  """A k-th of the channels is searched on."""
  if k < 2:
    raise ValueError('k must be at least 2: with 1 it is darts')
  return Method(relax=relax, init=init, **channels.partial(k))


def init(rng, net, scale):
  """DARTS's alphas, and logits `betas` of every table's edges."""
  arch = topology.init(rng, net, scale)
  betas = {
    f'{kind}_betas': np.float32(scale * rng.standard_normal(shape[:-1]))
    for kind, shape in net.tables.items()
  }
  return arch._replace(alphas=arch.alphas | betas)


def relax(arch, now):
  """[edges, operations + 1]: b p, and b for the channels that pass by."""
  mix = {}
  for kind, p in archs.softmax(arch, now).items():
    b = edge_weights(arch.alphas[f'{kind}_betas'], arch.own['targets'])
    mix[kind] = jnp.concatenate([b[:, None] * p, b[:, None]], axis=-1)
  return mix


def edge_weights(betas, targets):
  """Softmax of [edges] logits over the edges that enter the same node."""
  together = targets[:, None] == targets[None]
  each = jnp.where(together, betas[None], -jnp.inf)
  return jnp.diagonal(jax.nn.softmax(each, axis=-1))

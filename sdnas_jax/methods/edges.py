"""Logits `betas` of the edges that enter a node, which is to keep two (DAAS).

b = softmax(m), m = min(beta, 1), over a node's n edges.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import method
from sdnas_jax.methods.topology import EDGES


def init(rng, net, scale):
  """DARTS's without `none`, and betas at 2/n to three decimals, plus noise.

  Nodes that keep all their edges have betas of 0, that stay.
  """
  targets = method.targets(net.space)
  arch, n = method.without_none(rng, net, scale), np.bincount(targets)[targets]
  loses, first = n > EDGES, np.floor(2e3 / n) / 1e3
  betas = {
    f'{kind}_betas': np.float32(
      loses * (first + scale * rng.standard_normal(len(n)))
    )
    for kind in net.tables
  }
  return arch._replace(alphas=arch.alphas | betas, own={'targets': targets})


def shares(betas, targets):
  """n b of each edge; 1 where its node keeps all."""
  log, _, n = weights(betas, targets)
  return jnp.where(n > EDGES, n * jnp.exp(log), 1)


def doubt(betas, targets):
  """The sum over nodes that lose edges of 0.2 (sum m - 2)^2 + H(b).

  The sum is of the positive m, H is the entropy.
  """
  log, total, n = weights(betas, targets)
  each = 0.2 * (total - EDGES) ** 2 / n - jnp.exp(log) * log
  return jnp.sum(jnp.where(n > EDGES, each, 0))


def weights(betas, targets):
  """For each edge log b, its node's sum of positive m, and n."""
  # From 1 on, and at 0, nothing has a derivative; jnp.minimum's has half.
  m = jnp.where(betas < 1, betas, 1)
  together = targets[:, None] == targets[None]
  log = jax.nn.log_softmax(jnp.where(together, m[None], -jnp.inf), axis=-1)
  total = together @ jnp.where(m > 0, m, 0)
  return jnp.diagonal(log), total, together.sum(axis=1)


def lost(betas, targets):
  """Bool [edges]: the lowest betas of each node, of equal ones the earlier."""
  found = np.zeros(len(betas), bool)
  for node in np.unique(targets):
    own = np.flatnonzero(targets == node)
    order = np.argsort(betas[own], kind='stable')
    found[own[order[:-EDGES]]] = True
  return found


def discretize(space, arch, mix):
  """The edges of the highest betas; softmax(alpha) orders and fills them."""
  p = {kind: np.array(q) for kind, q in archs.softmax(arch, None).items()}
  for kind, q in p.items():
    q[lost(arch.alphas[f'{kind}_betas'], arch.own['targets'])] = 0
  return method.strongest(space, arch, p)

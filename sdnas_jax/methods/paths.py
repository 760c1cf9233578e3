"""Paths: mixes of ones, an operation an edge, and two edges a crowded node.

So a step trains what is evaluated later, a cell. Edges of one `group` compete
for two places, as many as a node of DARTS's kind keeps; an edge whose group is
its own is always there. All cells of a kind take one path.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import method
from sdnas_jax.methods import topology


def init(rng, net, scale):
  """All operations but `none` alike; the groups, and what draws begin with."""
  del scale
  arch, space = method.without_none(rng, net, 0.0), net.space
  targets, edges = method.targets(space), np.arange(len(space.edges))
  crowded = np.isin(targets, topology.pruned(space))
  group = np.where(crowded, targets - len(space.edges), edges)
  seed = rng.integers(2**31, dtype=np.int32)
  return arch._replace(own={'group': group.astype(np.int32), 'seed': seed})


def never(now):
  """When alphas move that only a decision writes."""
  del now
  return False


def uniform(key, arch, now, group):
  """A path of which every edge, and every operation alive, is as likely."""
  del now, group
  return drawn(key, arch, {k: jnp.zeros(m.shape) for k, m in arch.mask.items()})


def policy(key, arch, now, group):
  """A path by the alphas."""
  del now, group
  return drawn(key, arch, arch.alphas)


def drawn(key, arch, logits):
  """A path by logits [edges, operations] of each kind.

  Those named `<kind>_edges`, [edges], draw a group's edges one after another;
  without them all are alike.
  """
  mix, keys = {}, jax.random.split(key, 2 * len(arch.mask))
  for kind, own, other in zip(arch.mask, keys[::2], keys[1::2], strict=True):
    alive, p = arch.mask[kind], logits[kind]
    there = alive.any(axis=-1)
    strength = jax.random.gumbel(other, there.shape, p.dtype)
    strength += logits.get(f'{kind}_edges', 0.0)
    strength = jnp.where(there, strength, -jnp.inf)
    stronger = strength[None] > strength[:, None]
    before = jnp.sum(together(arch) & stronger, axis=1)
    kept = (before < topology.EDGES) & there
    p = jnp.where(alive, p + jax.random.gumbel(own, p.shape, p.dtype), -jnp.inf)
    h = jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[-1], dtype=p.dtype)
    mix[kind] = jnp.where(kept[:, None], h, 0.0)
  return mix


def together(arch):
  """[edges, edges]: which share a group."""
  group = jnp.asarray(arch.own['group'])
  return group[:, None] == group[None]


def log_prob(arch, logits, mix):
  """The logarithm of the probability that `drawn` gives a path."""
  total = 0.0
  for kind, alive in arch.mask.items():
    p = archs.alive(logits[kind], alive)
    chosen = mix[kind] > 0
    total += jnp.sum(jnp.log(jnp.where(chosen, p, 1.0)))
    there, edges = alive.any(axis=-1), logits[f'{kind}_edges']
    total += log_pairs(edges, together(arch) & there[None], chosen.any(axis=-1))
  return total


def log_pairs(logits, same, kept):
  """The same of the edges alone, which of a group's are drawn in either order.

  q_a q_b (1 / (1 - q_a) + 1 / (1 - q_b)), with q the group's softmax.
  """
  rows = archs.alive(jnp.broadcast_to(logits, same.shape), same)
  q, others = jnp.diagonal(rows), same & ~jnp.eye(len(same), dtype=bool)
  drawn = kept & others.any(axis=-1)
  rest = jnp.where(drawn, others @ q, 1.0)  # 1 - q
  orders = (same & drawn[None]) @ (1 / rest)
  pair = jnp.log(jnp.where(drawn, q, 1.0))
  return jnp.sum(pair + jnp.log(jnp.where(drawn, orders, 1.0)) / 2)


def mutated(rng, arch, path, share):
  """A path of which each edge changes with that probability."""
  for kind, p in path.items():
    for edge in np.flatnonzero(p.any(axis=-1)):
      if rng.random() < share:
        path = changed(rng, arch, path, kind, edge)
  return path


def changed(rng, arch, path, kind, edge):
  """The path with any operation there, or on a free edge of the group."""
  p, alive, group = path[kind].copy(), arch.mask[kind], arch.own['group']
  p[edge] = 0
  free = alive.any(axis=-1) & (group == group[edge]) & ~p.any(axis=-1)
  to = rng.choice(np.flatnonzero(free))
  p[to, rng.choice(np.flatnonzero(alive[to]))] = 1
  return {**path, kind: p}


def crossed(rng, arch, one, two):
  """A path of which every group is of one or the other."""
  names, rows = np.unique(arch.own['group'], return_inverse=True)
  pick = {kind: rng.random(len(names)) < 0.5 for kind in arch.mask}
  return {
    kind: np.where(pick[kind][rows, None], one[kind], two[kind])
    for kind in arch.mask
  }


def decided(arch, path):
  """The architecture that a path is alone alive of, which alphas show too."""
  table = {k: np.asarray(path[k], arch.alphas[k].dtype) for k in arch.mask}
  mask = {k: p > 0 for k, p in table.items()}
  return arch._replace(alphas={**arch.alphas, **table}, mask=mask)


def stages(space):
  """The search; then an epoch of the path decided on, at a rate of 0.

  It gives the running statistics those of that path.
  """
  del space
  still = {'weights.lr': 0.0, 'weights.lr_min': 0.0, 'weights.warmup': 0}
  last = {'options.decide': True, 'epochs': 1, 'alphas.warmup': 0}
  return {}, last | still | {'distill.weight': 0.0}

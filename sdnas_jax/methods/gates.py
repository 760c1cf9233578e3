"""Binary gates of operations: one is 1, and the others' derivatives count too.

Tables are [edges, operations] for each kind of cell.
"""

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import method


def every(key, arch):
  """All operations alive, to draw one among."""
  del key
  return arch.mask


def pair(key, arch):
  """Two of them, drawn by their softmax without replacement."""
  gumbel = method.drawn(jax.random.gumbel, key, arch.mask)
  found = {}
  for kind, alive in arch.mask.items():
    noisy = jnp.where(alive, arch.alphas[kind] + gumbel[kind], -jnp.inf)
    second = jnp.sort(noisy, axis=-1)[..., -2:-1]
    found[kind] = alive & (noisy >= second)
  return found


def drawn(key, arch, among):
  """One of each edge's `among`, drawn by their softmax q: its gate.

  The gates' derivative is q's, and none where the operation `none` is drawn.
  """
  gumbel = method.drawn(jax.random.gumbel, key, arch.mask)
  return {
    kind: gate(arch.alphas[kind], few, gumbel[kind], arch.own['none'])
    for kind, few in among.items()
  }


def gate(alphas, among, gumbel, none):
  """g + q - sg q, with g one-hot."""
  q = archs.alive(alphas, among)
  best = jnp.argmax(jnp.where(among, alphas + gumbel, -jnp.inf), axis=-1)
  g = among & jax.nn.one_hot(best, q.shape[-1], dtype=bool)
  q = jnp.where(none[best][..., None], lax.stop_gradient(q), q)
  return g + (q - lax.stop_gradient(q))


def settle(key, before, after, now):
  """Shifts a pair so that its share of the softmax is what it was."""
  del now
  few, _ = jax.random.split(key)  # as the gates were drawn
  alphas = dict(after)
  for kind, two in pair(few, before).items():
    old, new = before.alphas[kind], after[kind]
    size = [
      jax.nn.logsumexp(a, axis=-1, where=two, keepdims=True) for a in (new, old)
    ]
    alphas[kind] = new - jnp.where(two & (new != old), size[0] - size[1], 0)
  return alphas

"""Dirichlet distributions over the operations of every edge (DrNAS).

Their parameters b are elu(alpha) + 1. Tables are [edges, operations].
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma
from jax.scipy.special import gammaln

from sdnas_jax.methods.arch import Arch
from sdnas_jax.methods.arch import Mix
from sdnas_jax.methods.arch import Now


def concentration(alphas: jax.Array) -> jax.Array:
  """b, above 0."""
  return jax.nn.elu(alphas) + 1


def mean(arch: Arch, now: Now) -> Mix:
  """The expectation b / sum b, of what is alive."""
  tables = {kind: concentration(arch.alphas[kind]) for kind in arch.mask}
  return alive(tables, arch.mask)


def draw(key: jax.Array, arch: Arch, now: Now, group: str) -> Mix:
  """Of a draw for each kind over all operations, what is alive."""
  keys = jax.random.split(key, len(arch.mask))
  tables = {
    kind: jax.random.dirichlet(own, concentration(arch.alphas[kind]))
    for own, kind in zip(keys, arch.mask, strict=True)
  }
  return alive(tables, arch.mask)


def alive(tables: Mix, mask: dict[str, jax.Array]) -> Mix:
  """Rows of what the mask leaves, divided by their sums; 0 if it is nothing."""
  left = {kind: jnp.where(m, tables[kind], 0) for kind, m in mask.items()}
  sums = {kind: p.sum(axis=-1, keepdims=True) for kind, p in left.items()}
  return {k: p / jnp.where(sums[k] > 0, sums[k], 1) for k, p in left.items()}


def penalty(arch: Arch, mix: Mix, now: Now, kl: float) -> jax.Array:
  """kl sum KL(Dir(b) || Dir(1)), each over what is searched on an edge."""
  rows = [
    divergence(concentration(arch.alphas[kind]), searched)
    for kind, searched in arch.own['searched'].items()
  ]
  return kl * jnp.concatenate(rows).sum()


def divergence(b: jax.Array, among: jax.Array) -> jax.Array:
  """KL(Dir(b) || Dir(1)) of each row, a distribution over `among`."""
  each = jnp.where(among, b, 0)
  total, count = each.sum(axis=-1), among.sum(axis=-1).astype(b.dtype)
  each = (b - 1) * (digamma(b) - digamma(total)[..., None]) - gammaln(b)
  each = jnp.where(among, each, 0).sum(axis=-1)
  return each + gammaln(total) - gammaln(count)

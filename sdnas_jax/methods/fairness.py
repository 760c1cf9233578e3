"""Strict fairness: a step in which every operation of every edge is trained.

A mix that says so has besides each kind's first pass the orders of all, as
`orders`: int32 [edges, operations] each, of an edge's operations alive, which
begin again once they are through.
"""

import jax
from jax import lax
import jax.numpy as jnp


def drawn(key, arch, now, group):
  """The first pass of every edge's random order of its operations."""
  del now, group
  orders, keys = {}, jax.random.split(key, len(arch.mask))
  for own, (kind, alive) in zip(keys, arch.mask.items(), strict=True):
    scores = jnp.where(alive, jax.random.uniform(own, alive.shape), jnp.inf)
    order, count = jnp.argsort(scores, axis=-1), alive.sum(axis=-1)
    turn = jnp.arange(alive.shape[-1])[None] % jnp.maximum(count, 1)[:, None]
    order = jnp.take_along_axis(order, turn, axis=-1)
    orders[kind] = jnp.where(count[:, None] > 0, order, -1)
  count = [alive.sum(axis=-1).max() for alive in arch.mask.values()]
  mix = {'orders': orders, 'passes': jnp.stack(count).max()}
  return {**mix, **at(orders, 0)}


def at(orders, m):
  """The mix of pass m."""
  return {
    kind: jax.nn.one_hot(order[:, m], order.shape[-1])
    for kind, order in orders.items()
  }


def descend(gradient, loss, w, mix, now):
  """The sum of all passes' gradients, and the mean of what they saw."""
  del now

  def one(m):
    return gradient(lambda w: loss(w, at(mix['orders'], m)), w)

  def more(m, total):
    return jax.tree.map(jnp.add, total, one(m))

  none = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, 0)
  )
  grads, seen = lax.fori_loop(0, mix['passes'], more, none)
  return grads, jax.tree.map(lambda x: x / mix['passes'], seen)

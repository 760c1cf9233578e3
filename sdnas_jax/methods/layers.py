"""How far a supernet's layers agree on the mix that they share (Lambda-DARTS).

What layer l asks of it is g_l = dL/dp_l, of a loss(w, p) with a mix a layer, p
[layers, edges, operations].
"""

import jax
import jax.numpy as jnp

from sdnas_jax.bilevel import optimizers

LEAST = 1e-30  # of a squared norm


def cosine(g):
  """The mean cosine of two layers' g [layers, ...]; 0 of one layer alone."""
  g = g.reshape(len(g), -1)
  squares = jnp.sum(g**2, axis=1, keepdims=True)
  u = g / jnp.sqrt(jnp.maximum(squares, LEAST))
  return _mean(u @ u.T)


def signed(g):
  """The same over sum |g_l| |g_k| for the norms' product."""
  g = g.reshape(len(g), -1)
  return _mean(g @ g.T / jnp.maximum(jnp.abs(g) @ jnp.abs(g).T, LEAST))


def _mean(pairs):
  """Of a square table without its diagonal."""
  others = max(len(pairs) * (len(pairs) - 1), 1)
  return (jnp.sum(pairs) - jnp.trace(pairs)) / others


def exact(agreement, loss, w, p, eps):
  """The derivative of agreement(dL/dp) with respect to w."""
  del eps
  return jax.grad(lambda w: agreement(jax.grad(loss, 1)(w, p)))(w)


def difference(agreement, loss, w, p, eps):
  """The same by the gradients at two mixes, p +- eps d / |d|.

  d is the derivative of the agreement with respect to dL/dp.
  """
  d = jax.grad(agreement)(jax.grad(loss, 1)(w, p))
  step = eps / optimizers.norm(d)
  ahead, behind = (jax.grad(loss)(w, p + s * d) for s in (step, -step))
  return jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)

"""One operation an edge, whose alphas are told what it was good for."""

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.methods import arch as archs


def sampled(alphas, alive, gumbel, fixed):
  """Z (1 + log p - sg log p): Z one-hot, its gradient dL/dZ (Z - p).

  Z is drawn from p, the softmax of alphas [edges, operations] that are alive,
  by Gumbel's noise, but where `fixed` [edges] is not negative and says it.
  """
  p = archs.alive(alphas, alive)
  best = jnp.argmax(jnp.where(alive, alphas + gumbel, -jnp.inf), axis=-1)
  best = jnp.where(fixed < 0, best, fixed)
  z = alive & jax.nn.one_hot(best, p.shape[-1], dtype=bool)
  log_p = jnp.log(jnp.where(z, p, 1))
  return z * (1 + (log_p - lax.stop_gradient(log_p)))


@jax.custom_vjp
def limited(mix, limit):
  """The mix, of which no derivative exceeds a limit."""
  return mix


limited.defvjp(
  lambda mix, limit: (mix, limit),
  lambda limit, g: (jnp.clip(g, -limit, limit), None),
)

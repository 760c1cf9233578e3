"""GDAS: one operation an edge, sampled (Dong and Yang, CVPR 2019).

The sample's weight is 1 and its derivative that of a softmax at a falling
temperature. Operations not sampled give no gradient, as in the authors' search
on NASNet's cells, and a CPU does not compute them; their form for NAS-Bench-201
adds the others' weights, which are 0, as numbers to an edge's output, so that
they give one: not so here. The supernet stays DARTS's, and the clipping sees
the weights alone. A genotype takes a node's two strongest operations, which may
lie on one edge, as theirs does.
"""

from functools import partial

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import method


def gdas(tau_max: float = 10.0, tau_min: float = 0.1) -> method.Method:
  """At temperatures from `tau_max` to `tau_min`."""
  if not tau_max >= tau_min > 0:
    raise ValueError('tau_min must be above 0 and at most tau_max: correct it')
  return method.Method(
    sample=partial(sample, tau_max=tau_max, tau_min=tau_min),
    turn='weights_first',
    discretize=method.pairs,
  )


def sample(key, arch, now, group, tau_max, tau_min):
  """One draw for all cells of a kind, another for each group's step."""
  tau = temperature(now, tau_max, tau_min)
  gumbel = method.drawn(jax.random.gumbel, key, arch.mask)
  return {
    kind: one_hot(arch.alphas[kind], alive, gumbel[kind], tau)
    for kind, alive in arch.mask.items()
  }


def temperature(now, tau_max, tau_min):
  """Linear in the epoch, tau_min in the last."""
  share = now.epoch / jnp.maximum(now.epochs - 1, 1)
  return tau_max - (tau_max - tau_min) * share


def one_hot(alphas, alive, gumbel, tau):
  """h (1 + P - sg P), with h the one-hot argmax of P: equations 3 to 7."""
  p = archs.alive((alphas + gumbel) / tau, alive)
  h = jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[-1], dtype=p.dtype)
  return jnp.where(alive, h * (1 + p - lax.stop_gradient(p)), 0.0)

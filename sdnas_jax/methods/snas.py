"""SNAS: both groups on one loss, through relaxed samples (Xie et al. 2019).

Each edge's weights are a draw of the Concrete distribution with a falling
temperature. One batch moves weights and alphas together, so nothing is held
out: let `data.shared` search on all images, as the authors do. Their resource
cost is not here. A genotype keeps the best of every edge, `none` as any.
"""

from functools import partial

import jax
import jax.numpy as jnp

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import method

TWICE = 'it drops paths by options.drop_path: set weights.drop_path to 0'


def snas(tau_min: float = 0.03, drop_path: float = 0.3) -> method.Method:
  """From temperature 1 to `tau_min`; edges dropped by `drop_path`."""
  if not 0 < tau_min <= 1 or not 0 <= drop_path < 1:
    raise ValueError('tau_min must be in (0, 1], drop_path in [0, 1)')
  return method.Method(
    sample=partial(sample, tau_min=tau_min, drop_path=drop_path),
    turn='joint',
    init=init,
    discretize=method.every_edge,
    refuse=lambda _, fields: TWICE if fields['weights.drop_path'] else '',
  )


def init(rng, net, scale):
  """Logits N(1, 0.01), whatever the config's scale."""
  arch = method.normal(rng, net, 0.01)
  return arch._replace(alphas={k: 1 + a for k, a in arch.alphas.items()})


def sample(key, arch, now, group, tau_min, drop_path):
  """One draw for all cells of a kind; and which edges' paths to drop."""
  tau = temperature(now, tau_min)
  dropping = jax.random.fold_in(key, len(arch.mask))  # behind the draws' own
  gumbel = method.drawn(jax.random.gumbel, key, arch.mask)
  mix = {
    kind: concrete(arch.alphas[kind], alive, gumbel[kind], tau)
    for kind, alive in arch.mask.items()
  }
  return mix | {'drop_path': (dropping, drop_path)}


def temperature(now, tau_min):
  """Linear in the epoch, tau_min in the last."""
  line = tau_min + (1 - tau_min) * (1 - (now.epoch + 1) / now.epochs)
  return jnp.maximum(tau_min, line)


def concrete(log_alpha, alive, gumbel, tau):
  """softmax((log alpha + G) / tau): equation 3."""
  return archs.alive((log_alpha + gumbel) / tau, alive)

"""beta-DARTS: the alphas' logsumexp is kept small (Ye et al., CVPR 2022).

The alphas' loss has lambda(t) times the mean over edges of log sum_o exp(a_o),
with lambda rising linearly from 0. The authors' code ends at 49.5 after 100
epochs, and at 24.5 after 50; here every search rises to `lam_max`. Its form for
DARTS's space cannot run; the mean over both tables is our choice.
"""

from functools import partial

import jax
import jax.numpy as jnp

from sdnas_jax.methods.method import Method


def beta_darts(lam_max: float = 50.0) -> Method:
  """With a weight that rises to `lam_max`."""
  if lam_max < 0:
    raise ValueError('lam_max must not be negative: with 0 it is darts')
  return Method(penalty=partial(penalty, lam_max=lam_max))


def penalty(arch, mix, now, lam_max):
  """Equation 11, times its weight."""
  rows = []
  for kind, alive in arch.mask.items():
    own = alive | ~alive.any(axis=-1, keepdims=True)  # of none, all
    rows.append(jax.nn.logsumexp(arch.alphas[kind], axis=-1, where=own).ravel())
  return lam_max * now.t * jnp.mean(jnp.concatenate(rows))

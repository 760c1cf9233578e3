"""DSNAS: one operation an edge, and credit for it (Hu et al., CVPR 2020).

With p the softmax of the alphas, Z_e the operation drawn and r_e = dL/dZ_e of
it, the alphas' gradient is r_e (Z_e - p_e): that of the mean loss, as far as
the loss is linear in an edge's Z. Both groups move at once, by one batch, and
before each epoch edges that lead by `gap` keep their operation for good.

The paper searches ShuffleNet's blocks. As in the authors' variant for cells, r
is summed over the cells of a kind and clipped; of its two tables one takes the
logarithm of a sum for the sum of logarithms, a slip. Their FLOPs are not here.
"""

from functools import partial

import jax
import jax.numpy as jnp

from sdnas_jax.methods import credit
from sdnas_jax.methods import fixing
from sdnas_jax.methods import method
from sdnas_jax.methods import snas


def dsnas(gap: float = 0.3, clip: float = 5.0) -> method.Method:
  """Fixes at a lead of `gap`; clips credit to +- `clip`, or with 0 not."""
  if not 0 < gap <= 1 or clip < 0:
    raise ValueError('gap must be in (0, 1], clip must not be negative')
  return method.Method(
    sample=partial(sample, clip=clip),
    turn='joint',
    init=lambda *given: fixing.free(snas.init(*given)),
    revise=partial(fixing.early, gap=gap),
    discretize=method.every_edge,
  )


def sample(key, arch, now, group, clip):
  """One draw for all cells of a kind."""
  gumbel = method.drawn(jax.random.gumbel, key, arch.mask)
  limit, fixed = jnp.where(clip > 0, clip, jnp.inf), arch.own['fixed']
  return {
    kind: credit.limited(
      credit.sampled(arch.alphas[kind], alive, gumbel[kind], fixed[kind]), limit
    )
    for kind, alive in arch.mask.items()
  }

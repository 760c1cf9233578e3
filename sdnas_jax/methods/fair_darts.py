"""FairDARTS: every operation has a gate of its own (Chu et al., ECCV 2020).

An edge is sum_o sigmoid(alpha_o) op_o(x), so that a skip gains nothing by what
the others lose; the alphas' loss has -weight times the mean of (gate - 1/2)^2
besides, which drives gates to 0 or 1. A node keeps its two strongest edges,
each if its best gate reaches `threshold`: 0 to 2 pairs. `none` is not searched
in DARTS's space. The release's other parsers are not here.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import method


def fair_darts(
  weight: float = 10.0, threshold: float = 0.85, l1: bool = False
) -> method.Method:
  """Zero-one loss of `weight`, by squares or with `l1` by magnitudes."""
  if not 0 < threshold < 1 or weight < 0:
    raise ValueError('threshold must be in (0, 1), weight at least 0')
  far = magnitude if l1 else jnp.square
  return method.Method(
    relax=gates,
    penalty=partial(penalty, far, weight=weight),
    # Gates of one half, whatever the config's scale.
    init=lambda rng, net, scale: method.without_none(rng, net, 0.0),
    discretize=partial(discretize, threshold=threshold),
  )


def gates(arch, now):
  """sigmoid(alpha), of what is alive."""
  return {
    kind: jnp.where(m, jax.nn.sigmoid(arch.alphas[kind]), 0)
    for kind, m in arch.mask.items()
  }


def magnitude(x):
  """|x|, of derivative 0 where x is 0, as gates are at first."""
  return jnp.sign(x) * x


def penalty(far, arch, mix, now, weight):
  """-weight times the mean distance of the gates from 1/2."""
  total = sum(jnp.sum(far(mix[k] - 0.5), where=m) for k, m in arch.mask.items())
  return -weight * total / sum(jnp.sum(m) for m in arch.mask.values())


def discretize(space, arch, mix, threshold):
  """The strongest, without what is below the threshold."""
  left = {k: np.where(mix[k] >= threshold, mix[k], 0) for k in space.kinds}
  return method.strongest(space, arch, left)

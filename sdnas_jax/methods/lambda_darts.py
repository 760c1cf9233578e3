"""Lambda-DARTS: layers are to ask for one cell (Movahedi et al., TMLR 2023).

The weights' gradient loses lambda(e) times the derivative of Lambda, the mean
cosine of what two layers ask of the mix they share; lambda rises from 0. Layers
that reduce do not count. As released it is a difference of two gradients, at
mixes apart by `eps`, which single precision makes noisy: here it is exact, with
0. Their search on NAS-Bench-201 moves the weights first.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import layers
from sdnas_jax.methods import method


def lambda_darts(
  lam: float = 0.125, eps: float = 0.0, signs: bool = False
) -> method.Method:
  """Up to a weight of `lam`; `signs` is the release's other cosine."""
  if min(lam, eps) < 0:
    raise ValueError('lam and eps must not be negative: with lam 0 it is darts')
  rule = layers.difference if eps else layers.exact
  own = descend, rule, layers.signed if signs else layers.cosine
  return method.Method(
    init=init, sample=sample, descend=partial(*own, lam=lam, eps=eps)
  )


def init(rng, net, scale):
  """DARTS's without `none`, and how many cells share each table, as a shape."""
  arch = method.without_none(rng, net, scale)
  return arch._replace(own={k: np.ones(net.cells.count(k)) for k in arch.mask})


def sample(key, arch, now, group):
  """DARTS's mix, for the weights with a copy for each cell."""
  mix = archs.softmax(arch, now)
  if group == 'alphas':
    return mix
  return {k: jnp.tile(p, (len(arch.own[k]), 1, 1)) for k, p in mix.items()}


def descend(rule, agreement, gradient, loss, w, mix, now, lam, eps):
  """dL/dw - lambda(e) dLambda/dw."""
  grads, seen = gradient(lambda w: loss(w, mix), w)
  (kind,) = mix.keys() - {'reduce'}

  def shared(w, p):
    return loss(w, mix | {kind: p})[0]

  slope = rule(agreement, shared, w, mix[kind], eps)
  weight = lam * now.epoch / jnp.maximum(now.epochs - 1, 1)
  return jax.tree.map(lambda g, s: g - weight * s, grads, slope), seen

"""OLES: stops operations that learn what does not hold (Jiang et al. 2023).

The weights of a convolution in one cell stand still from when, over `window`
steps, their training gradient and that of the validation half agree too little
on average; its alphas go on. As released, the validation gradient is added to
the training one that it is compared with, a window has one score more than it
is divided by, and `none` may be found: `released=True`.
"""

from functools import partial

import jax
import jax.numpy as jnp

from sdnas_jax.methods import method
from sdnas_jax.methods.cosine import agreement


def oles(
  threshold: float = 0.4, window: int = 20, released: bool = False
) -> method.Method:
  """Stops those whose gradients' mean cosine is below `threshold`."""
  if window < 1:
    raise ValueError('window must be at least 1')
  own = {'threshold': threshold, 'window': window, 'released': released}
  return method.Method(
    init=init,
    observe=partial(observe, **own),
    held=lambda own, mix: own['frozen'],
    discretize=method.with_none if released else method.strongest,
  )


def init(rng, net, scale):
  """DARTS's, no sums yet, and which primitives are convolutions."""
  arch = method.normal(rng, net, scale)
  conv = jnp.array([[['conv' in name for name in net.space.primitives]]])
  sums = {
    kind: jnp.zeros((net.cells.count(kind), *net.space.shape))
    for kind in net.space.kinds
  }
  frozen = jax.tree.map(lambda x: x.astype(bool), sums)
  own = {'sums': sums, 'frozen': frozen, 'count': jnp.zeros((), jnp.int32)}
  return arch._replace(own={**own, 'conv': conv})


def observe(own, gradients, owners, now, threshold, window, released):
  """Adds this step's scores; at a window's end, decides and starts anew."""
  h, v = gradients['train'], gradients['valid']
  seen = jax.tree.map(lambda h, v: v + released * h, h, v)
  scores = agreement(seen, h, owners, own['sums'])
  sums = jax.tree.map(jnp.add, own['sums'], scores)
  # At the first step there is no training gradient.
  count = own['count'] + ((now.epoch > 0) | (now.step > 0))
  full = count == window + released
  decide = full & own['conv']
  frozen = jax.tree.map(
    lambda f, s: f | decide & (s / window < threshold), own['frozen'], sums
  )
  sums = jax.tree.map(lambda s, f: jnp.where(f | full, 0, s), sums, frozen)
  own = {**own, 'sums': sums, 'frozen': frozen}
  return own | {'count': jnp.where(full, 0, count)}

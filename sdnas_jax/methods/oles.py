"""OLES: stops operations that learn what does not hold (Jiang et al. 2023).

A convolution's weights in one cell stand still once, over `window` steps, their
gradients on the two halves agree too little on average; its alphas go on. As
released, the validation gradient has the training one added, a window has one
score more than it is divided by, and `none` may be found: `released=True`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

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
  arch, cells = method.normal(rng, net, scale), net.cells
  sums = {k: np.zeros((cells.count(k), *net.space.shape)) for k in arch.mask}
  frozen = {kind: table > 0 for kind, table in sums.items()}
  conv = np.array([[['conv' in name for name in net.space.primitives]]])
  own = {'sums': sums, 'frozen': frozen, 'count': 0, 'conv': conv}
  return arch._replace(own=jax.tree.map(jnp.asarray, own))


def observe(own, gradients, owners, now, threshold, window, released):
  """Adds this step's scores; at a window's end, decides and starts anew."""
  h = gradients['train']
  v = jax.tree.map(lambda h, v: v + released * h, h, gradients['valid'])
  scores = agreement(v, h, owners, own['sums'])
  sums = jax.tree.map(jnp.add, own['sums'], scores)
  # At the first step there is no training gradient.
  count = own['count'] + ((now.epoch > 0) | (now.step > 0))
  full = count == window + released
  decide = full & own['conv']
  frozen = jax.tree.map(
    lambda f, s: f | decide & (s / window < threshold), own['frozen'], sums
  )
  sums = jax.tree.map(lambda s, f: jnp.where(f | full, 0, s), sums, frozen)
  count = jnp.where(full, 0, count)
  return {**own, 'sums': sums, 'frozen': frozen, 'count': count}

"""Partial channels: operations see a k-th of them, the rest pass by.

`networks.columns` has what a mix says of those: a column more.
"""

import jax.numpy as jnp


def partial(k):
  """What a method with it asks of the supernet, and whom it refuses."""

  def refuse(space, fields):
    channels = fields['model.channels']
    why = f'model.channels ({channels}) must be a multiple of k, {k}'
    return why if channels % k else ''

  return {'model': {'partial': k}, 'refuse': refuse}


def beside(relax, passing, *args):
  """What relax(...) returns, with weights of 1 for channels that pass by.

  Not so unless any do.
  """
  mix = relax(*args)
  if not passing:
    return mix
  return {
    kind: jnp.concatenate([p, jnp.ones_like(p[..., :1])], axis=-1)
    for kind, p in mix.items()
  }

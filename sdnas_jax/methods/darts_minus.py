"""DARTS-: an auxiliary skip on every edge, that fades (Chu et al., ICLR 2021).

What a skip is good for in training, the auxiliary one provides, so that the
searched one has no advantage: edge = beta(t) aux(x) + sum_o p_o op_o(x). The
genotype knows nothing of it. For NAS-Bench-201 no code was released: the same.
"""

from functools import partial

import jax.numpy as jnp

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.method import Method


def darts_minus(
  beta: float = 1.0, decay: str = 'linear', start: int = 0, stop: int = 0
) -> Method:
  """Fades from `beta` by a linear, cosine, slow_cosine decay, or by none.

  Epochs before `start` keep the first value, those after `stop` the value of
  then; 0 is the search's last.
  """
  if decay not in DECAYS:
    raise ValueError(f'decay must be one of {", ".join(DECAYS)}')

  def refuse(space, fields):
    why = f'the space {space.name} has no skip_connect: choose another'
    return '' if 'skip_connect' in space.primitives else why

  return Method(
    relax=partial(relax, DECAYS[decay], beta=beta, start=start, stop=stop),
    model={'auxiliary': True},
    refuse=refuse,
  )


DECAYS = {
  'linear': lambda e, end, span: (end - e) / span,
  'cosine': lambda e, end, span: (1 + jnp.cos(jnp.pi * e / span)) / 2,
  'slow_cosine': lambda e, end, span: jnp.cos(jnp.pi * e / (2 * span)),
  'none': lambda e, end, span: 1.0,
}


def relax(decay, arch, now, beta, start, stop):
  """[edges, operations + 1], the last column the auxiliary skip's."""
  weight, mix = strength(decay, now, beta, start, stop), {}
  for kind, p in archs.softmax(arch, now).items():
    own = jnp.full((*p.shape[:-1], 1), weight)
    mix[kind] = jnp.concatenate([p, own], axis=-1)
  return mix


def strength(decay, now, beta, start, stop):
  """The auxiliary skip's weight in an epoch."""
  epoch = jnp.minimum(now.epoch, jnp.where(stop > 0, stop, now.epochs))
  share = decay(epoch, now.epochs, now.epochs - start)
  return beta * jnp.where(now.epoch < start, 1.0, share)

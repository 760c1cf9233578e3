"""DARTS-: an auxiliary skip on every edge, that fades (Chu et al., ICLR 2021).

What a skip is good for in training, the auxiliary one provides, so that the
searched one has no advantage: edge = beta(t) aux(x) + sum_o p_o op_o(x). The
genotype knows nothing of it. For NAS-Bench-201's space, in which the paper
reports results, no code was released: the same is done there.
"""

from functools import partial

import jax.numpy as jnp

from sdnas_jax.bilevel import arch as archs
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
  return Method(
    relax=partial(relax, DECAYS[decay], beta=beta, start=start, stop=stop),
    model={'auxiliary': True},
    refuse=lacking,
  )


DECAYS = {
  'linear': lambda e, end, span: (end - e) / span,
  'cosine': lambda e, end, span: (1 + jnp.cos(jnp.pi * e / span)) / 2,
  'slow_cosine': lambda e, end, span: jnp.cos(jnp.pi * e / (2 * span)),
  'none': lambda e, end, span: 1.0,
}


def relax(decay, arch, now, beta, start, stop):
  """[edges, operations + 1], the last column the auxiliary skip's."""
  weight = strength(decay, now, beta, start, stop)
  return {
    kind: jnp.concatenate([p, jnp.full((*p.shape[:-1], 1), weight)], axis=-1)
    for kind, p in archs.softmax(arch, now).items()
  }


def strength(decay, now, beta, start, stop):
  """The auxiliary skip's weight in an epoch."""
  stop = jnp.where(stop > 0, stop, now.epochs)
  epoch, span = jnp.minimum(now.epoch, stop), now.epochs - start
  share = decay(epoch, now.epochs, span)
  return beta * jnp.where(now.epoch < start, 1.0, share)


def lacking(space, fields):
  """Why there is no skip to stand beside."""
  if 'skip_connect' in space.primitives:
    return ''
  return f'the space {space.name} has no skip_connect: choose another'

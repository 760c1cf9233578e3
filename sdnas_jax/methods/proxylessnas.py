"""ProxylessNAS: binary gates, learned by what they would do (Cai, ICLR 2019).

A weight step draws an operation for each edge, and all others stand still. So
does a step of the alphas, every few steps, but there it also asks what an
operation not drawn would change: the derivative in its gate, which is 0. The
gates' gradient counts as that of the alphas' softmax p, `full`; or, as in the
paper, of two operations drawn by p, `two`, after which both are shifted so that
the others keep their probability. Where `none` is drawn the edge's alphas rest,
their optimiser with them.

The paper searches MBConv blocks, with a term of latency, which is not here;
what is set for DARTS's cells is this project's choice.
"""

from functools import partial

import jax
import numpy as np

from sdnas_jax.methods import gates
from sdnas_jax.methods import method


def proxylessnas(mode: str = 'two', every: int = 5) -> method.Method:
  """Alphas move after each `every`-th step of an epoch, in a mode above."""
  if mode not in ('two', 'full') or every < 1:
    raise ValueError("mode must be 'two' or 'full', every at least 1")
  two = mode == 'two'
  return method.Method(
    sample=partial(sample, gates.pair if two else gates.every),
    moves=partial(moves, every=every),
    held=lambda own, mix: {k: p == 0 for k, p in mix.items()},
    turn='weights_first',
    init=init,
    discretize=method.every_edge,
    needs={'alphas.optimizer': 'lazy_adam'},
    **({'settle': gates.settle} if two else {}),
  )


def init(rng, net, scale):
  """DARTS's, and which primitive is `none`."""
  none = np.array([name == 'none' for name in net.space.primitives])
  return method.normal(rng, net, scale)._replace(own={'none': none})


def moves(now, every):
  """After an epoch's steps `every` - 1, 2 `every` - 1, ..., from 0."""
  return (now.step + 1) % every == 0


def sample(among, key, arch, now, group):
  """One-hot; for the alphas of few operations, and open to all the others."""
  if group == 'weights':
    return gates.drawn(key, arch, arch.mask)
  few, one = jax.random.split(key)
  return gates.drawn(one, arch, among(few, arch)) | {'open': ()}

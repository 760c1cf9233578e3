"""ENAS: a policy that draws paths, by reinforcement (Pham et al., ICML 2018).

Efficient Neural Architecture Search via Parameter Sharing. The weights learn on
paths that a policy draws, the policy by REINFORCE from their accuracies,

  grad J = E[(R - b) grad log pi(path)],  R = accuracy - `entropy` log pi(path),

of `samples` paths on a validation minibatch, with b a moving average of R; the
last term makes it the gradient of the policy's entropy too. Their policy is an
LSTM, which draws a choice after another; here each is independent: an edge's
operation by its alphas, a node's two edges by logits of their own. They train
either group for an epoch; here steps take turns. The last stage takes the best
of `candidates` paths that the policy draws.
"""

from functools import partial

import numpy as np

from sdnas_jax.methods import evolution
from sdnas_jax.methods import method
from sdnas_jax.methods import paths
from sdnas_jax.methods.reinforce import reinforce


def enas(
  samples: int = 10,
  entropy: float = 1e-4,
  decay: float = 0.99,
  candidates: int = 100,
  decide: bool = False,
) -> method.Method:
  """A baseline that keeps `decay` of itself at a step."""
  if min(samples, candidates) < 1 or entropy < 0 or not 0 <= decay < 1:
    raise ValueError(
      'at least 1 sample and candidate, entropy 0, decay in [0, 1)'
    )

  def revise(history, arch, look):
    if not decide or history.metrics:
      return None
    return evolution.decided(arch, look, candidates, logits=arch.alphas)

  return method.Method(
    init=init,
    sample=paths.policy,
    hypergrad=partial(reinforce, samples, entropy=entropy, decay=decay),
    moves=paths.never if decide else method.Method.moves,
    revise=revise,
    stages=paths.stages,
  )


def init(rng, net, scale):
  """All paths alike, and a baseline of 0."""
  arch = paths.init(rng, net, scale)
  edges = {f'{kind}_edges': a[:, 0] for kind, a in arch.alphas.items()}
  own = {**arch.own, 'baseline': np.float32(0)}
  return arch._replace(alphas=arch.alphas | edges, own=own)

"""DrNAS: mixes drawn from Dirichlet distributions (Chen et al., ICLR 2021).

Both groups' steps see a draw, with the derivatives of Gamma variates; the
authors' framework takes those of Beta ones, equal in expectation. Validation
and report see the mean, theirs a draw. In DARTS's space a second stage has
wider operations, of which each edge keeps the strongest; its learning rate,
which a slip doubles there, goes on. Pools are normalised in their networks.
"""

from functools import partial

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import channels
from sdnas_jax.methods import dirichlet
from sdnas_jax.methods import method
from sdnas_jax.methods import pruning
from sdnas_jax.spaces import space as spaces

# The authors' k are 6 and 4, of 36 channels: configs/search_drnas.py.
STAGES = (
  {'epochs': 25, 'alphas.warmup': 10, 'options.k': 4, 'options.keep': 4},
  {'carry': 'widened', 'epochs': 25, 'alphas.warmup': 35, 'options.k': 2},
)


def drnas(k: int = 1, keep: int = 0, kl: float = 0.0) -> method.Method:
  """With a k-th of the channels; a stage's end leaves `keep` an edge, or all.

  `kl` weighs the distributions' divergence from the uniform one, which the
  authors take in place of `alphas.decay`.
  """
  if k < 1 or min(keep, kl) < 0:
    raise ValueError('k must be at least 1, keep and kl at least 0')
  return method.Method(
    init=init,
    relax=partial(channels.beside, dirichlet.mean, k > 1),
    sample=partial(channels.beside, dirichlet.draw, k > 1),
    penalty=partial(dirichlet.penalty, kl=kl),
    revise=partial(pruning.at_the_end, count=keep),
    discretize=discretize,
    stages=lambda own: STAGES if own.genotype is spaces.Genotype else (),
    **channels.partial(k),
  )


def init(rng, net, scale):
  """DARTS's without `none`, and what is searched, whatever is pruned."""
  arch = method.without_none(rng, net, scale)
  return arch._replace(own={'searched': arch.mask})


def discretize(space, arch, mix):
  """DARTS's, from the softmax."""
  return method.strongest(space, arch, archs.softmax(arch, None))

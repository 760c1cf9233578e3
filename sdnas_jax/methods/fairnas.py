"""FairNAS: every operation is trained as often as any other (Chu et al. 2021).

Rethinking Evaluation Fairness of Weight Sharing Neural Architecture Search,
ICCV 2021. Each step draws a permutation pi_e of every edge's operations; with
as many passes as operations, in pass m edge e takes pi_e(m), the weights move
once, along sum_m grad L(pi(m), w): strict fairness, algorithm 1. A node has all
its edges then, where a cell that is found has two. The last stage evolves paths
as `spos` does, for the accuracy alone; theirs, NSGA-II, weighs size too.
"""

from sdnas_jax.methods import evolution
from sdnas_jax.methods import fairness
from sdnas_jax.methods import method
from sdnas_jax.methods import paths


def fairnas(
  population: int = 50,
  generations: int = 20,
  mutation: float = 0.1,
  top: int = 10,
  decide: bool = False,
) -> method.Method:
  """Looks at `population` paths in each of `generations`: see `spos`."""
  if min(population, generations, top) < 1 or not 0 <= mutation <= 1:
    raise ValueError('mutation must be in [0, 1], the others at least 1')

  def revise(history, arch, look):
    if not decide or history.metrics:
      return None
    return evolution.decided(
      *(arch, look, population, generations, mutation, top)
    )

  return method.Method(
    init=paths.init,
    sample=fairness.drawn,
    descend=fairness.descend,
    moves=paths.never,
    revise=revise,
    stages=paths.stages,
  )

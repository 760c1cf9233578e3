"""FairNAS: every operation is trained as often as any other (Chu et al. 2021).

Rethinking Evaluation Fairness of Weight Sharing Neural Architecture Search,
ICCV 2021. Each step draws a permutation pi_e of every edge's operations; with
as many passes as operations, in pass m edge e takes pi_e(m), the weights move
once, along sum_m grad L(pi(m), w): strict fairness, algorithm 1. A node has all
its edges then, where a cell that is found has two. The last stage evolves paths
as `spos` does, for the accuracy alone; theirs, NSGA-II, weighs size too.
"""

import dataclasses

from sdnas_jax.methods import fairness
from sdnas_jax.methods import method
from sdnas_jax.methods.spos import spos


def fairnas(
  population: int = 50,
  generations: int = 20,
  mutation: float = 0.1,
  top: int = 10,
  decide: bool = False,
) -> method.Method:
  """Looks at `population` paths in each of `generations`: see `spos`."""
  return dataclasses.replace(
    spos(population, generations, mutation, top, decide),
    sample=fairness.drawn,
    descend=fairness.descend,
  )

"""SPOS: a supernet of uniform single paths, then evolution (Guo et al. 2020).

Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV
2020. Each step of the weights trains one path, w = argmin E_{a ~ U} L(N(a, w)),
here a cell of each kind: of every node two edges, of each an operation. The
search's last stage looks for the path of the best accuracy on the valid half,
each normalised by its batches' own statistics, where theirs counts those of
every candidate anew. Alphas stay 0, so that until then the validation is of all
paths' mean.
"""

from sdnas_jax.methods import evolution
from sdnas_jax.methods import method
from sdnas_jax.methods import paths


def spos(
  population: int = 50,
  generations: int = 20,
  mutation: float = 0.1,
  top: int = 10,
  decide: bool = False,
) -> method.Method:
  """Looks at `population` paths in each of `generations`.

  But the first, a generation has children of the `top` best: half of them by
  mutation, with probability `mutation` for each operation, half by crossover.
  """
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
    sample=paths.uniform,
    moves=paths.never,
    revise=revise,
    stages=paths.stages,
  )

"""Random search with weight sharing (Li and Talwalkar, UAI 2019).

Random Search and Reproducibility for Neural Architecture Search. Each step of
the weights trains one path, uniformly drawn: a cell of each kind, of every node
two edges, of each an operation. The search's last stage takes the best of
`samples` other such paths, by its accuracy on the valid half, normalised by its
batches' own statistics. They draw their two edges of a node with replacement,
and keep the best of several searches by training each.
"""

from sdnas_jax.methods import evolution
from sdnas_jax.methods import method
from sdnas_jax.methods import paths


def random_ws(samples: int = 1000, decide: bool = False) -> method.Method:
  """Looks at `samples` paths."""
  if samples < 1:
    raise ValueError('samples must be at least 1')

  def revise(history, arch, look):
    if not decide or history.metrics:
      return None
    return evolution.decided(arch, look, samples)

  return method.Method(
    init=paths.init,
    sample=paths.uniform,
    moves=paths.never,
    revise=revise,
    stages=paths.stages,
  )

"""P-DARTS: deeper networks of fewer operations by stages (Chen et al. 2019).

Three stages of 5, 11 and 17 cells; each begins anew, with the operations that
the one before left: 8, 5, 3 an edge. Skips are held back by dropout, which
fades within a stage, and by a limit on those of the normal cell. What is
dropped stays in the network with a weight of 0, and is not computed.
"""

from functools import partial

from sdnas_jax.methods import pruning
from sdnas_jax.methods import skip_connect
from sdnas_jax.methods.method import first_none
from sdnas_jax.methods.method import Method

STAGES = (
  {'model.layers': 5, 'options.keep': 5, 'options.dropout': 0.1},
  {'model.layers': 11, 'options.keep': 3, 'options.dropout': 0.4},
  {'model.layers': 17, 'options.keep': 1, 'options.dropout': 0.7},
)
SHARED = {'carry': 'fresh', 'epochs': 25, 'alphas.warmup': 10}
SHARED |= {'distill.warmup': 12}  # half of it, as SD-DARTS has it


def p_darts(
  keep: int = 5, dropout: float = 0.1, warmup: int = 10, skips: int = 2
) -> Method:
  """A stage that leaves `keep` operations an edge; skips limited at the end.

  `dropout` is the skips' at first, and `warmup` the epochs before it falls
  exponentially.
  """
  if keep < 1 or not 0 <= dropout < 1:
    raise ValueError('keep must be at least 1 and dropout in [0, 1)')

  return Method(
    sample=partial(skip_connect.dropped, dropout=dropout, warmup=warmup),
    revise=partial(pruning.at_the_end, count=keep),
    discretize=lambda space, arch, mix: skip_connect.limited(space, mix, skips),
    stages=lambda space: tuple(SHARED | stage for stage in STAGES),
    refuse=first_none('the depth of {} is fixed, and it deepens: take darts'),
  )

"""DARTS-ES: stops before the loss is sharp (R-DARTS, Zela et al. 2020).

The largest eigenvalue of the alpha-Hessian is averaged over five measurements.
Once that has grown by 30 % in four of them, the search ends, with the genotype
of the middle of the older five. R-DARTS's code measures every second epoch, by
`sharpness.protocol=robustdarts`.
"""

import math
from statistics import fmean

from sdnas_jax.methods.method import Method
from sdnas_jax.methods.method import Revision


def darts_es(
  window: int = 5,
  delta: int = 4,
  factor: float = 1.3,
  first: int = 10,
  max_decay: float = 0.0243,
) -> Method:
  """Averages over `window`, compared `delta` apart; none before `first`."""

  def revise(history, arch, look):
    if at_limit(history, max_decay):
      return None
    stop = sharpened(history, window, delta, factor, first)
    return None if stop is None else Revision(stop=stop)

  return Method(revise=revise, needs={'sharpness.every': 2}, refuse=unmeasured)


def sharpened(history, window, delta, factor, first):
  """The epoch to go back to, counted from 0, or None while the loss is flat."""
  done, name = len(history.metrics), 'dominant_eigenvalue'
  seen = [n for n, row in enumerate(history.metrics) if name in row]
  # A new measurement has a say; the last epoch of all is too late for one.
  few = len(seen) < math.ceil(window / 2) + delta
  if few or seen[-1] != done - 1 or done == history.epochs:
    return None
  values = [history.metrics[n][name] for n in seen]
  now, before = fmean(values[-window:]), fmean(values[:-delta][-window:])
  stop = seen[-1] - (seen[1] - seen[0]) * (window // 2 + delta)
  grown = before > 0 and now / before > factor
  return stop if grown and stop >= first else None


def at_limit(history, most):
  """Whether the weights' decay is as large as may be, by its order."""
  decay = history.rates['weights.decay']
  return decay > 0 and round(math.log(most) / math.log(decay), 1) == 1.0


def unmeasured(space, fields):
  """Why the eigenvalue would not be known."""
  if fields['sharpness.every'] and fields['sharpness.of'] == 'alphas':
    return ''
  return "it looks at the alphas' eigenvalue: set --config.sharpness.of=alphas"

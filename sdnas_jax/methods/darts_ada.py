"""DARTS-ADA: goes back when the loss is sharp, with more decay (R-DARTS).

Where DARTS-ES stops (Zela et al. 2020, section 5.1), this returns to the state
of then, multiplies the weights' decay, and goes on with the schedules of the
whole search. What was measured since is forgotten with the state; the authors'
code keeps it, so that it may return again at once.
"""

from sdnas_jax.methods import darts_es
from sdnas_jax.methods.method import Method
from sdnas_jax.methods.method import Revision


def darts_ada(
  grow: float = 3.0,
  max_decay: float = 0.0243,
  extra: int = 0,
  every: int = 2,
  window: int = 5,
  delta: int = 4,
  factor: float = 1.3,
  first: int = 10,
) -> Method:
  """Multiplies by `grow` up to `max_decay`, goes back `extra` epochs more.

  `every` is at least `sharpness.every`; the rest is `darts_es`'s.
  """
  if grow <= 1 or every < 1 or extra < 0:
    raise ValueError('grow must be above 1, every at least 1, extra at least 0')

  def revise(history, arch, look):
    if darts_es.at_limit(history, max_decay):
      return None
    stop = darts_es.sharpened(history, window, delta, factor, first)
    if stop is None:
      return None
    decay = grow * history.rates['weights.decay']
    return Revision(back=max(stop - extra, 0), rates={'weights.decay': decay})

  def refuse(space, fields):
    if fields['sharpness.every'] > every:
      return (
        'set --config.options.every to sharpness.every, for it goes further'
      )
    return darts_es.unmeasured(space, fields)

  return Method(
    revise=revise,
    reach=every * (window // 2 + delta) + extra,
    needs={'sharpness.every': every},
    refuse=refuse,
  )

"""DARTS-ES: stops before the loss is sharp (R-DARTS, Zela et al. 2020).

The largest eigenvalue of the alpha-Hessian is averaged over five measurements.
Once that has grown by 30 % in four of them, the search ends, with the genotype
of the middle of the older five. `sharpness.every` must be set; R-DARTS's code
measures every second epoch, by `sharpness.protocol=robustdarts`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import statistics
from typing import Any

from sdnas_jax.methods import method

WINDOW, DELAY, FACTOR, FIRST = 5, 4, 1.3, 10


def stop(rows: Sequence[Mapping[str, Any]]) -> int | None:
  """Says whether to stop after the last row, and which row's genotype to take.

  Args:
    rows: of metrics.csv, one an epoch; an eigenvalue not measured is ''.
  """
  seen = [n for n, row in enumerate(rows) if row['dominant_eigenvalue'] != '']
  # The last epoch of all is measured too, which may be out of step.
  seen = [n for n in seen if (n + 1) % (seen[0] + 1) == 0]
  values = [float(rows[n]['dominant_eigenvalue']) for n in seen]
  back = DELAY + WINDOW // 2
  # As many epochs must be done at the row to go back to.
  if len(seen) <= back or seen[-1 - back] + 1 < FIRST:
    return None
  now = statistics.fmean(values[-WINDOW:])
  before = statistics.fmean(values[:-DELAY][-WINDOW:])
  return seen[-1 - back] if now > FACTOR * before > 0 else None


METHOD = method.Method(stop=stop)

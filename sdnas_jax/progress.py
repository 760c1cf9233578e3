"""How far a long piece of work has come, on the console."""

import sys

import tqdm

from sdnas_jax import parallel


def bar(total: int, unit: str, done: int = 0, delay: float = 0.0) -> tqdm.tqdm:
  """Shows progress and the time left, as often as the output can bear.

  What takes fewer seconds than `delay` is not shown.
  """
  interactive = sys.stderr.isatty()
  return tqdm.tqdm(
    total=total,
    initial=done,
    unit=unit,
    delay=delay,
    mininterval=0.2 if interactive else 60.0,
    maxinterval=1.0 if interactive else 60.0,
    disable=not parallel.leads(),
    dynamic_ncols=interactive,
    ncols=None if interactive else 79,
  )

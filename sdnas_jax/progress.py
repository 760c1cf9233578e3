"""How far a long piece of work has come, on the console."""

import sys

import tqdm

from sdnas_jax import parallel


def bar(total: int, unit: str, done: int = 0, delay: float = 0.0) -> tqdm.tqdm:
  """Shows progress and the time left, as often as the output can bear.

  What takes fewer seconds than `delay` is not shown.
  """
  # A notebook is no terminal, but shows a line that changes.
  notebook = type(sys.stderr).__module__.startswith('ipykernel')
  interactive = sys.stderr.isatty() or notebook
  return tqdm.tqdm(
    total=total,
    initial=done,
    unit=unit,
    delay=delay,
    mininterval=0.2 if interactive else 60.0,
    maxinterval=1.0 if interactive else 60.0,
    disable=not parallel.leads(),
    dynamic_ncols=sys.stderr.isatty(),
    ncols=None if sys.stderr.isatty() else 79,
  )

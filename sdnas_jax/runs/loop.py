"""The one host loop: dispatches steps, shows progress, leaves when told to."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import math
import signal
import sys
import threading
import time
from typing import Any

from sdnas_jax import errors
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax import progress

Tree = Any
# Those of a terminal, of a system, and of a cluster whose time is over; not all
# platforms have all of them.
STOPS = 'SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'


class Interrupted(Exception):
  """A signal asked the run to stop; the state has been saved."""

  def __init__(self, number: int, step: int):
    super().__init__(f'stopped at step {step}, which is saved')
    self.number = number


class Pace:
  """How many steps to dispatch at once: as asked, or what takes a second.

  The number changes nothing but how often the host looks at the device. All
  hosts must dispatch the same, so they agree on it (`_meet`).
  """

  def __init__(self, size: int = 0, seconds: float = 1.0):
    self.fixed, self.seconds, self.size = size > 0, seconds, max(size, 1)

  def see(self, steps: int, seconds: float) -> None:
    """Learns from a dispatch; growth is gradual, for one may be lucky."""
    if not self.fixed:
      fitting = int(steps * self.seconds / max(seconds, 1e-6))
      self.size = max(1, min(fitting, 4 * self.size))


@contextlib.contextmanager
def catching() -> Iterator[list[int]]:
  """Collects the signals that ask to stop; the second has its usual effect.

  An ignored SIGHUP stays so, as nohup wants it. Python lets the main thread
  alone catch any.
  """
  caught: list[int] = []
  if threading.current_thread() is not threading.main_thread():
    yield caught
    return
  there = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
  usual = {n: signal.getsignal(n) for n in there}
  if usual.get(getattr(signal, 'SIGHUP', None)) is signal.SIG_IGN:
    del usual[signal.SIGHUP]

  def note(number, frame):
    caught.append(number)
    for n, handler in usual.items():
      signal.signal(n, handler)

  for number in usual:
    signal.signal(number, note)
  try:
    yield caught
  finally:
    for number, handler in usual.items():
      signal.signal(number, handler)


def run(
  state: Tree,
  *,
  epochs: int,
  steps: int,
  checks: int,
  advance: Callable[[Tree, int], Tree],
  validate: Callable[[Tree, Any, int, int], Any],
  finish: Callable[[Tree, Any, float, float], tuple[Tree, str]],
  save: Callable[[Tree], None],
  pace: Pace,
  over: Callable[[], bool] = lambda: False,
) -> Tree:
  """Runs from a state's epoch and step to the last.

  Args:
    state: with counters `step` and `epoch`, and `sums.diverged`.
    epochs: in all, each of so many `steps` (updates) and `checks` (batches of
      a validation).
    advance: (state, stop) -> state after step number `stop`.
    validate: (state, sums or None, start, stop) -> sums of those batches too.
    finish: (state, sums, seconds a step, seconds of this epoch in this
      process) -> the state to go on from, saved, and a line to show. It may be
      that of an earlier epoch.
    save: saves a state within an epoch.
    pace: how many steps to dispatch at once.
    over: whether to end after the epoch just finished.

  Raises:
    Interrupted: after a signal; the state has been saved.
    Diverged: if a loss is not finite; nothing was saved since it was.
  """
  first = at = int(state.step)

  def heed():
    if number := _meet(pace, caught):
      save(state)
      raise Interrupted(number, at)

  with catching() as caught, progress.bar(epochs * steps, 'step', at) as shown:
    while (epoch := int(state.epoch)) < epochs:
      begun, since, sums = time.monotonic(), at, None
      shown.set_description(f'epoch {epoch + 1}/{epochs}')
      for n, stop in _parts(steps * (epoch + 1) - at, pace):
        start = time.monotonic()
        state = advance(state, since + stop)
        if at == first:  # what it left may keep the next from the same memory
          malloc.give_back()
        at = since + stop
        _check(int(state.sums.diverged), at, epoch)
        pace.see(stop - n, time.monotonic() - start)
        shown.update(stop - n)
        heed()
      done = at - since  # 0 after a stop at an epoch's end
      each = (time.monotonic() - begun) / done if done else math.inf
      for n, stop in _parts(checks, pace):
        sums = validate(state, sums, n, stop)
        _check(int(sums.diverged), at + 1, epoch)
        heed()
      state, line = finish(state, sums, each, time.monotonic() - begun)
      shown.write(line, file=sys.stdout)
      at = shown.n = int(state.step)
      if over():
        break
    if number := _meet(pace, caught):
      raise Interrupted(number, at)
  return state


def _parts(count, pace):
  """Where to begin and to stop, at the pace of the moment."""
  n = 0
  while n < count:
    stop = min(n + pace.size, count)
    yield n, stop
    n = stop


def _check(diverged, stop, epoch):
  if diverged < stop:
    raise errors.Diverged(
      f'the loss is no longer finite at step {diverged} (epoch {epoch})'
    )


def _meet(pace, caught):
  """Agrees on the pace and on the signal, if any host caught one."""
  pace.size, number = parallel.most(pace.size, caught[0] if caught else 0)
  return number

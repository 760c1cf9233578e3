"""The host loop on states of two numbers."""

from typing import Any
from typing import NamedTuple

from sdnas_jax.runs import loop


class Sums(NamedTuple):
  diverged: int = 2**30


class State(NamedTuple):
  step: int = 0
  epoch: int = 0
  sums: Any = Sums()


def run(finish, epochs=5, steps=3, over=lambda: False):
  """Every step that was done, in order, and the last state."""
  done = []

  def advance(state, stop):
    done.extend(range(state.step, stop))
    return state._replace(step=stop)

  last = loop.run(
    State(),
    epochs=epochs,
    steps=steps,
    checks=1,
    advance=advance,
    validate=lambda state, sums, start, stop: state.sums,
    finish=lambda state, sums, each, seconds: (finish(state), ''),
    save=None,
    pace=loop.Pace(1),
    over=over,
  )
  return done, last


def following(state):
  return state._replace(epoch=state.epoch + 1)


def test_it_does_every_step_once():
  done, last = run(following)
  assert done == list(range(15)) and last[:2] == (15, 5)


def test_it_ends_when_it_is_over():
  finished = []

  def finish(state):
    finished.append(state.epoch)
    return following(state)

  done, _ = run(finish, over=lambda: len(finished) == 2)
  assert finished == [0, 1] and done == list(range(6))


def test_it_goes_on_from_the_state_that_an_epoch_s_end_gives():
  """An earlier one, once, after the third epoch: the second is run again."""
  ends = []

  def finish(state):
    ends.append((state.epoch, state.step))
    if state.epoch == 2 and len(ends) == 3:
      return State(step=3, epoch=1)
    return following(state)

  done, last = run(finish)
  assert done == [*range(9), *range(3, 15)] and last[:2] == (15, 5)
  numbers = 0, 1, 2, 1, 2, 3, 4
  assert ends == [(n, 3 * (n + 1)) for n in numbers]

"""Schedules of any length and rates: bounds, steps and ends."""

import functools

from hypothesis import given
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from sdnas_jax.bilevel import optimizers

LONGEST = 60
NUMBERS = st.floats(0, 1, width=32), st.floats(0, 1, width=32)
EPOCHS = st.integers(1, LONGEST)


@functools.cache
def compiled(name):
  return jax.jit(optimizers.SCHEDULES[name])


def rates(name, lr, lr_min, epochs):
  """The rate of each epoch, and of the one behind the last."""
  every = np.arange(LONGEST + 1, dtype=np.float32)
  found = compiled(name)(lr, lr_min, every, np.float32(epochs))
  return np.asarray(found, np.float64)[: epochs + 1]


def close(found, expected):
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('name', optimizers.SCHEDULES)
@given(NUMBERS[0], NUMBERS[1], EPOCHS)
def test_a_schedule_falls_between_its_rates(name, one, other, epochs):
  lr, lr_min = max(one, other), min(one, other)
  found = rates(name, lr, lr_min, epochs)[:-1]
  assert (np.diff(found) <= 1e-6).all()
  assert lr_min - 1e-6 <= found[-1] <= found[0] <= lr + 1e-6


@given(*NUMBERS, EPOCHS)
def test_the_cosine_is_as_far_below_one_rate_as_later_above_the_other(
  lr, lr_min, epochs
):
  found = rates('cosine', lr, lr_min, epochs)
  close(found + found[::-1], lr + lr_min)
  close(found[[0, -1]], [lr, lr_min])


@given(*NUMBERS, EPOCHS)
def test_the_early_cosine_ends_on_the_last_rate(lr, lr_min, epochs):
  """And has, epoch by epoch, the usual one's of the next."""
  found = rates('early_cosine', lr, lr_min, epochs)[:-1]
  close(found, rates('cosine', lr, lr_min, epochs)[1:])
  close(found[-1], lr_min)


@given(*NUMBERS, EPOCHS)
def test_the_linear_schedule_falls_by_equal_steps_and_then_by_fifths(
  lr, lr_min, epochs
):
  """The steps, whose sum leads to lr_min."""
  found = rates('linear', lr, lr_min, epochs)
  usual = max(epochs - 5, 1)
  step = (lr - lr_min) / usual
  steps = [step] * (usual - 1) + [0] + [step / 5] * 5
  close(found[0] - found[1:], np.cumsum(steps[-epochs:]))
  close(found[-1], lr_min)


@given(NUMBERS[0], st.integers(0, 20))
def test_the_warm_up_rises_by_equal_steps_to_the_rate(rate, warmup):
  """Without one, the rate is the schedule's from the first epoch on."""
  found = [float(optimizers.warm(rate, n, warmup)) for n in range(30)]
  first = max(warmup, 1)
  close(found[:first], np.linspace(0, rate, first + 1)[1:])
  close(found[first - 1 :], rate)

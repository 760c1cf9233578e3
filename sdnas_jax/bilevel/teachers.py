"""Who teaches in self-distillation: a value, a `Teacher`.

Some keep what the supernet said of each example in past epochs, in a `Ring`.
Others keep an average of its weights, and run that.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

Tree = Any


class Student(NamedTuple):
  """The supernet's variables."""

  weights: Tree
  stats: Tree  # running statistics of the normalisation


class Teacher(NamedTuple):
  """What is remembered of the examples, or of the supernet, and what it says.

  Indices from `examples` on mark rows that only pad a batch: they read as
  unknown and write nothing. Networks that are remembered run under the mix of
  the step: the alphas are the student's.
  """

  # (examples, classes, student) -> memory
  init: Callable[[int, int, Student], Tree]
  # (memory, index [B], see) -> teacher [B, classes], known [B] bool, or None if
  # all are; see(weights) is a pass normalised as the student's, and
  # see(weights, stats) by these running statistics: probabilities [B, classes]
  read: Callable[..., tuple[jax.Array | None, jax.Array | None]]
  # (memory, index [B], probabilities [B, classes], student after the step) ->
  # memory
  push: Callable[[Tree, jax.Array, jax.Array, Student], Tree]
  again: bool = False  # whether it sees another augmentation of the batch


class Ring(NamedTuple):
  """Probabilities by slot and example, and how many each example has had."""

  probs: jax.Array  # [slots, examples, classes] float32
  count: jax.Array  # [examples] int32


def _count(ring, index):
  return ring.count.at[index].get(mode='fill', fill_value=0)


@functools.cache  # equal terms are one to a compiled step
def window(teachers: int) -> Teacher:
  """The mean of the last `teachers` records; of fewer, where there are fewer.

  An example's n-th record lies in slot n % teachers, so an epoch that misses
  an example overwrites nothing.
  """

  def read(ring, index, see):
    count = _count(ring, index)
    slot = jnp.arange(teachers)[:, None]
    share = (slot < count[None]) / jnp.clip(count, 1, teachers)[None]
    probs = ring.probs.at[:, index].get(mode='fill', fill_value=0.0)
    return jnp.sum(share[:, :, None] * probs, axis=0), count > 0

  return Teacher(_started(teachers), read, _push)


@functools.cache
def lag(epochs: int) -> Teacher:
  """The record of exactly so many epochs ago (SAF, Du et al. 2022)."""

  def read(ring, index, see):
    count = _count(ring, index)
    slot = count % epochs  # the one that the next record overwrites
    probs = ring.probs.at[slot, index].get(mode='fill', fill_value=0.0)
    return probs, count >= epochs

  return Teacher(_started(epochs), read, _push)


def _started(slots):
  return lambda examples, classes, student: Ring(
    jnp.zeros((slots, examples, classes), jnp.float32),
    jnp.zeros((examples,), jnp.int32),
  )


def _push(ring, index, probs, student):
  slot = _count(ring, index) % len(ring.probs)
  return Ring(
    ring.probs.at[slot, index].set(probs, mode='drop'),
    ring.count.at[index].add(1, mode='drop'),
  )


@functools.cache
def ema(decay: float) -> Teacher:
  """A decayed exponential average, the paper's proposed future work.

  teacher <- decay * teacher + (1 - decay) * record, from the first record on.
  """

  def read(ring, index, see):
    probs = ring.probs.at[0, index].get(mode='fill', fill_value=0.0)
    return probs, _count(ring, index) > 0

  def push(ring, index, probs, student):
    old, known = read(ring, index, None)
    mean = jnp.where(known[:, None], decay * old + (1 - decay) * probs, probs)
    return _push(ring, index, mean, student)

  return Teacher(_started(1), read, push)


@functools.cache
def mesa(decay: float) -> Teacher:
  """The average of the weights and running statistics (MESA, Du et al. 2022).

  average <- decay * average + (1 - decay) * student after each step, from a
  copy of the first student on. It sees the student's batch, normalised by its
  own statistics.
  """

  def read(average, index, see):
    return see(*average), None

  def push(average, index, probs, student):
    return optax.incremental_update(student, average, 1 - decay)

  return Teacher(lambda examples, classes, student: student, read, push)


class Mean(NamedTuple):
  """Of weights, and of how many steps."""

  weights: Tree
  count: jax.Array  # a float, since its inverse is what is asked for


@functools.cache
def mean_teacher(decay: float) -> Teacher:
  """The average of the weights alone (Tarvainen and Valpola 2017).

  With min(1 - 1 / (n + 1), decay) after step n = 1, 2, ..., so that it is the
  mean of all at first. It sees another augmentation of the batch, normalised
  by that batch. The release starts from random weights; here, from a copy.
  """

  def init(examples, classes, student):
    return Mean(student.weights, jnp.zeros(()))

  def read(mean, index, see):
    return see(mean.weights), None

  def push(mean, index, probs, student):
    count = mean.count + 1
    share = jnp.maximum(1 / (count + 1), 1 - decay)
    moved = optax.incremental_update(student.weights, mean.weights, share)
    return Mean(moved, count)

  return Teacher(init, read, push, again=True)


# Remembers nothing: plain DARTS, without the ring's memory.
OFF = Teacher(
  init=lambda examples, classes, student: (),
  read=lambda memory, index, see: (None, None),
  push=lambda memory, index, probs, student: memory,
)
TEACHERS = {
  'window': window,
  'lag': lag,
  'ema': ema,
  'mesa': mesa,
  'mean_teacher': mean_teacher,
}

"""How a training meets its images: on the device, or out of a stream."""

from collections.abc import Callable
from collections.abc import Iterator
import functools
import itertools
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from sdnas_jax import compilation
from sdnas_jax import evaluate
from sdnas_jax import parallel
from sdnas_jax.data import sources
from sdnas_jax.data import split
from sdnas_jax.data import stream

Tree = Any
QUEUE = 4  # steps to issue before waiting, each of which holds a batch


class Feed(NamedTuple):
  """What the host loop calls, compiled."""

  advance: Callable[[Tree, int], Tree]  # state, stop -> state
  validate: Callable[[Tree, Any, int, int], Any]  # state, sums, start, stop


def _advance(state, seed, train, stop, setup):
  return evaluate.advance(state, jax.random.key(seed), train, stop, setup)


def _step(state, seed, batch, setup):
  return evaluate.step(state, jax.random.key(seed), batch, setup)


def held(
  state: evaluate.State,
  train: split.Split,
  test: split.Split,
  seed: int,
  setup: evaluate.Setup,
) -> Feed:
  """Many steps a dispatch, on images that every device holds."""
  seed, n = np.uint32(seed), np.int32(0)
  zero = parallel.replicate(evaluate.zero())
  go, look = compilation.build(
    compilation.Program(_advance, (state, seed, train, n, setup), donated=(0,)),
    compilation.Program(evaluate.validate, (state, test, zero, n, n, setup)),
    place=parallel.everywhere(),
  )
  return Feed(
    lambda s, stop: go(s, seed, train, np.int32(stop), setup),
    lambda s, sums, i, j: look(
      s, test, sums or zero, np.int32(i), np.int32(j), setup
    ),
  )


def streamed(
  state: evaluate.State,
  train: stream.Span,
  test: stream.Span,
  seed: int,
  setup: evaluate.Setup,
  source: sources.Source,
) -> Feed:
  """A step a dispatch, on images that come while the last one is computed."""
  size, number = setup.batch_size, np.uint32(seed)
  zero = parallel.replicate(evaluate.zero())
  like = stream.like(source, size)
  go, look = compilation.build(
    compilation.Program(_step, (state, number, like, setup), donated=(0,)),
    compilation.Program(evaluate.judge, (state, like, zero, setup)),
    place=parallel.everywhere(),
  )
  epochs = functools.partial(_epochs, source, size)
  lessons, exams = epochs(train, int(state.step), seed), epochs(test)

  def forward(state, stop):
    batches = itertools.islice(lessons, stop - int(state.step))
    for n, batch in enumerate(batches):
      state = go(state, number, batch, setup)
      if n % QUEUE == QUEUE - 1:
        jax.block_until_ready(state.step)
    return state

  def check(state, sums, start, stop):
    for batch in itertools.islice(exams, stop - start):
      sums = look(state, batch, sums or zero, setup)
    return sums

  return Feed(forward, check)


def _epochs(
  source: sources.Source,
  size: int,
  span: stream.Span,
  step: int = 0,
  seed: int | None = None,
) -> Iterator[split.Batch]:
  """Batches from a step's on, epoch after epoch, spread over the devices."""
  first, skip = divmod(step, split.batches(span.last - span.first, size))
  for epoch in itertools.count(first):
    key = None if seed is None else (seed, epoch)
    for batch in stream.batches(source, span, size, skip, key):
      yield parallel.spread(batch)
    skip = 0

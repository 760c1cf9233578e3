"""How a training meets its images: on the device, or out of a stream."""

from collections.abc import Callable
import functools
import itertools
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from sdnas_jax import compilation
from sdnas_jax import parallel
from sdnas_jax.data import dataset
from sdnas_jax.data import split
from sdnas_jax.data import stream
from sdnas_jax.steps import evaluate
from sdnas_jax.steps import totals

Tree = Any
QUEUE = 4  # steps to issue before waiting, each of which holds a batch


class Feed(NamedTuple):
  """What the host loop calls, compiled."""

  advance: Callable[[Tree, int], Tree]  # state, stop -> state
  validate: Callable[[Tree, Any, int, int], Any]  # state, sums, start, stop


def images(
  source: dataset.Source,
  train: int,
  test: int,
  held: int,
  order: str = 'auto',
) -> tuple[tuple[Any, Any], dict[str, Any]]:
  """The images to train and to test on: on the device, or where to read them.

  Training takes the first `train` images in an order of `dataset.load`. The
  `test` ones are the `held` that follow, or, with 0 held, of the source's own
  test part. With them comes what is recorded of them.
  """
  if source.stream is not None:
    part, begin = ('train', train) if held else ('test', 0)
    spans = (
      stream.Span('train', 0, train),
      stream.Span(part, begin, begin + test),
    )
    for span in spans:
      source.stream(*span, None)  # a missing one is noticed now
    return spans, dataset.told(source)
  images, labels = dataset.load(source, train + held, 'train', order)
  ours = split.Split(images[:train], labels[:train])
  theirs = split.Split(images[train:], labels[train:])
  if not held:
    theirs = split.Split(*dataset.load(source, test, 'test'))
  # What its own test part lacks, a source says in its note.
  for part, own in (('training', ours), ('test', theirs))[: 2 if held else 1]:
    if told := split.lacking(part, own.labels, source.classes):
      print(told)
  record = dataset.told(source, ours, theirs)
  return (parallel.replicate(ours), parallel.replicate(theirs)), record


def programs(
  state: evaluate.State,
  source: dataset.Source,
  data: tuple[Any, Any],
  seed: int,
  setup: evaluate.Setup,
) -> list[compilation.Program]:
  """What trains and what tests on these images; shapes of them will do."""
  key, n = parallel.key(seed), np.int32(0)
  zero = parallel.replicate(totals.zero())
  if source.stream is not None:
    like = stream.like(source, setup.batch_size)
    train, test = (state, key, like, setup), (state, like, zero, setup)
    return [
      compilation.Program(evaluate.step, train, donated=(0,)),
      compilation.Program(evaluate.judge, test),
    ]
  ours, theirs = data
  train = state, key, ours, n, setup
  test = state, theirs, zero, n, n, setup
  return [
    compilation.Program(evaluate.advance, train, donated=(0,)),
    compilation.Program(evaluate.validate, test),
  ]


def ready(
  state: evaluate.State,
  source: dataset.Source,
  data: tuple[Any, Any],
  seed: int,
  setup: evaluate.Setup,
) -> Feed:
  """Compiles what trains and tests on these images."""
  made = programs(state, source, data, seed, setup)
  compiled = compilation.build(*made, place=parallel.everywhere())
  if source.stream is not None:
    return _streamed(state, source, *data, seed, setup, *compiled)
  return _held(*data, seed, setup, *compiled)


def _held(train, test, seed, setup, go, look):
  """Many steps a dispatch, on images that every device holds."""
  key, zero = parallel.key(seed), parallel.replicate(totals.zero())
  return Feed(
    lambda s, stop: go(s, key, train, np.int32(stop), setup),
    lambda s, sums, i, j: look(
      s, test, sums or zero, np.int32(i), np.int32(j), setup
    ),
  )


def _streamed(state, source, train, test, seed, setup, go, look):
  """A step a dispatch, on images that come while the last one is computed."""
  size, key = setup.batch_size, parallel.key(seed)
  zero = parallel.replicate(totals.zero())
  epochs = functools.partial(_epochs, source, size)
  lessons, exams = epochs(train, int(state.step), seed), epochs(test)

  def forward(state, stop):
    batches = itertools.islice(lessons, stop - int(state.step))
    for n, batch in enumerate(batches):
      state = go(state, key, batch, setup)
      if n % QUEUE == QUEUE - 1:
        jax.block_until_ready(state.step)
    return state

  def check(state, sums, start, stop):
    for batch in itertools.islice(exams, stop - start):
      sums = look(state, batch, sums or zero, setup)
    return sums

  return Feed(forward, check)


def _epochs(source, size, span, step=0, seed=None):
  """Batches from a step's on, epoch after epoch, spread over the devices."""
  first, skip = divmod(step, split.batches(span.last - span.first, size))
  for epoch in itertools.count(first):
    key = None if seed is None else (seed, epoch)
    for batch in stream.batches(source, span, size, skip, key):
      yield parallel.spread(batch)
    skip = 0

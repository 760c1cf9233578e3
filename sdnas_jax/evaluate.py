"""Training a derived network from scratch, and testing it.

`step` is one update and `judge` tests one batch (DARTS, Liu et al. 2019,
section 3.2 and appendix A.3); `advance` and `validate` run many of them in one
dispatch, on images that the device holds.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any
from typing import NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import optax

from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import split

Tree = Any
NEVER = jnp.iinfo(jnp.int32).max


class Sums(NamedTuple):
  """What an epoch's metrics are made of; the device adds, the host divides."""

  rows: jax.Array
  loss: jax.Array  # cross-entropy, without the auxiliary one
  top1: jax.Array  # rows whose label comes first
  top5: jax.Array  # ... is among the first five
  diverged: jax.Array  # int32, first step whose loss was not finite


class State(NamedTuple):
  """Everything that a step reads and writes, and a checkpoint holds."""

  step: jax.Array  # int32, updates done
  epoch: jax.Array  # int32, epochs completed, test included
  weights: Tree
  stats: Tree  # running statistics of the normalisation
  opt: optax.OptState
  sums: Sums  # of the epoch under way


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['rates', 'epochs', 'auxiliary', 'smoothing', 'drop_path'],
  meta_fields=[
    *('net', 'schedule', 'nesterov', 'augment', 'mean', 'std', 'batch_size')
  ],
)
@dataclasses.dataclass(frozen=True)
class Setup:
  """A training's fixed parts.

  A compiled step serves all values of its numbers, but for the batch size,
  which gives shapes.
  """

  net: nn.Module
  schedule: Callable[..., jax.Array]  # of the learning rate
  nesterov: bool
  rates: dict[str, float]  # `optimizers.WEIGHTS`
  augment: augment.Augment
  mean: tuple[float, ...]
  std: tuple[float, ...]
  batch_size: int
  epochs: int
  auxiliary: float  # weight of the auxiliary head's loss
  smoothing: float  # share of the label that all classes divide
  drop_path: float  # probability, reached linearly after the last epoch


def optimiser(setup: Setup, epoch: jax.Array) -> optax.GradientTransformation:
  """Of an epoch, counted from 0."""
  lr, low, warmup, *rest = (setup.rates[name] for name in optimizers.WEIGHTS)
  lr = setup.schedule(lr, low, epoch, setup.epochs)
  lr = optimizers.warm(lr, epoch, warmup)
  return optimizers.sgd(lr, *rest, nesterov=setup.nesterov)


def zero() -> Sums:
  """The sums of nothing."""
  sums = (jnp.zeros(()) for _ in range(4))  # apart, as a donated state must be
  return Sums(*sums, diverged=jnp.full((), NEVER, jnp.int32))


def init(setup: Setup, variables: Tree) -> State:
  """The state before the first step, from first values of the variables."""
  return State(
    step=jnp.zeros((), jnp.int32),
    epoch=jnp.zeros((), jnp.int32),
    weights=variables['params'],
    stats=variables['batch_stats'],
    # One program; without jit, XLA compiles one for each shape of zeros.
    opt=jax.jit(optimiser(setup, 0).init)(variables['params']),
    sums=zero(),
  )


def cross_entropy(
  logits: jax.Array, batch: split.Batch, smoothing: jax.Array | float = 0.0
) -> jax.Array:
  """Mean over the rows present, with smoothed labels.

  The label gets 1 - smoothing, and all classes, it too, an equal share of the
  rest (Szegedy et al. 2016, section 7).
  """
  target = jax.nn.one_hot(batch.label, logits.shape[-1])
  target = (1 - smoothing) * target + smoothing / logits.shape[-1]
  each = optax.softmax_cross_entropy(logits, target)
  return jnp.sum(each * batch.present) / jnp.sum(batch.present)


def step(
  state: State, key: jax.Array, batch: split.Batch, setup: Setup
) -> State:
  """One update of the weights, on uint8 images; `key` is the whole run's."""
  _, vary, noise = jax.random.split(key, 3)  # the first one shuffles
  at = functools.partial(jax.random.fold_in, data=state.step)
  how = setup.mean, setup.std, setup.augment
  images = augment.prepare(batch.image, *how, at(vary))

  def objective(weights):
    (logits, head), new = setup.net.apply(
      {'params': weights, 'batch_stats': state.stats},
      images,
      train=True,
      present=batch.present,
      key=at(noise),
      drop=setup.drop_path * state.epoch / setup.epochs,
      mutable=['batch_stats'],
    )
    loss = total = cross_entropy(logits, batch, setup.smoothing)
    if head is not None:
      side = cross_entropy(head, batch, setup.smoothing)
      total = loss + setup.auxiliary * side
    return total, (loss, logits, new['batch_stats'])

  grads, (loss, logits, stats) = jax.grad(objective, has_aux=True)(
    state.weights
  )
  tx = optimiser(setup, state.epoch)
  updates, opt = tx.update(grads, state.opt, state.weights)
  return state._replace(
    step=state.step + 1,
    weights=optax.apply_updates(state.weights, updates),
    stats=stats,
    opt=opt,
    sums=count(state.sums, logits, batch, loss, state.step),
  )


def judge(state: State, batch: split.Batch, sums: Sums, setup: Setup) -> Sums:
  """Adds a batch of uint8 images to the sums.

  They are not augmented, and the running statistics normalise.
  """
  variables = {'params': state.weights, 'batch_stats': state.stats}
  images = augment.prepare(batch.image, setup.mean, setup.std)
  logits = setup.net.apply(variables, images)
  return count(sums, logits, batch, cross_entropy(logits, batch), state.step)


def count(
  sums: Sums,
  logits: jax.Array,
  batch: split.Batch,
  loss: jax.Array,
  step: jax.Array,
) -> Sums:
  """Adds a batch to the sums, and notes the step if its loss is not finite."""
  rows = jnp.sum(batch.present)
  own = jnp.take_along_axis(logits, batch.label[:, None], axis=-1)
  # What ties or is no number comes first, so that it never counts as right.
  ahead = jnp.sum(~(logits < own), axis=-1) - 1
  bad = jnp.where(jnp.isfinite(loss), NEVER, step)
  return Sums(
    rows=sums.rows + rows,
    loss=sums.loss + rows * loss,
    top1=sums.top1 + jnp.sum((ahead < 1) & batch.present),
    top5=sums.top5 + jnp.sum((ahead < 5) & batch.present),
    diverged=jnp.minimum(sums.diverged, bad),
  )


def advance(
  state: State,
  key: jax.Array,
  train: split.Split,
  stop: jax.Array,
  setup: Setup,
) -> State:
  """Steps on to step number `stop`, in this epoch, without the host."""
  steps = split.batches(len(train.labels), setup.batch_size)
  shuffle = jax.random.fold_in(jax.random.split(key, 3)[0], state.epoch)
  order = split.order(shuffle, train, setup.batch_size)

  def body(_, state):
    batch = split.gather(train, order[state.step % steps])
    return step(state, key, batch, setup)

  return lax.fori_loop(state.step, stop, body, state)


def validate(
  state: State,
  test: split.Split,
  sums: Sums,
  start: jax.Array,
  stop: jax.Array,
  setup: Setup,
) -> Sums:
  """Judges batches `start` to `stop` of the test images."""
  examples = len(test.labels)
  order = split.blocks(jnp.arange(examples), examples, setup.batch_size)

  def body(n, sums):
    return judge(state, split.gather(test, order[n]), sums, setup)

  return lax.fori_loop(start, stop, body, sums)


def averages(sums: Sums) -> dict[str, float]:
  """Mean loss and accuracies."""
  rows = float(sums.rows)
  return {
    'loss': float(sums.loss) / rows,
    'top1': float(sums.top1) / rows,
    'top5': float(sums.top5) / rows,
  }

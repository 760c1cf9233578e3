"""Training a derived network from scratch, and testing it.

`step` is one update and `judge` tests one batch (DARTS, Liu et al. 2019,
section 3.2 and appendix A.3); `advance` and `validate` run many of them in one
dispatch, on images that the device holds.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

from flax import struct
import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import optax

from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import split
from sdnas_jax.data.augment import Augment
from sdnas_jax.steps import totals

Tree = Any


class State(NamedTuple):
  """Everything that a step reads and writes, and a checkpoint holds."""

  step: jax.Array  # int32, updates done
  epoch: jax.Array  # int32, epochs completed, test included
  weights: Tree
  stats: Tree  # running statistics of the normalisation
  opt: optax.OptState
  sums: totals.Totals  # of the epoch under way


@struct.dataclass
class Setup:
  """A training's fixed parts.

  A compiled step serves all values of its numbers, but for the batch size,
  which gives shapes.
  """

  net: nn.Module = struct.field(pytree_node=False)
  # Of the learning rate.
  schedule: Callable[..., jax.Array] = struct.field(pytree_node=False)
  nesterov: bool = struct.field(pytree_node=False)
  rates: dict[str, float]  # `optimizers.WEIGHTS`
  augment: Augment = struct.field(pytree_node=False)
  mean: tuple[float, ...] = struct.field(pytree_node=False)
  std: tuple[float, ...] = struct.field(pytree_node=False)
  batch_size: int = struct.field(pytree_node=False)
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


def init(setup: Setup, variables: Tree) -> State:
  """The state before the first step, from first values of the variables."""
  return State(
    step=jnp.zeros((), jnp.int32),
    epoch=jnp.zeros((), jnp.int32),
    weights=variables['params'],
    stats=variables['batch_stats'],
    # One program; without jit, XLA compiles one for each shape of zeros.
    opt=jax.jit(optimiser(setup, 0).init)(variables['params']),
    sums=totals.zero(),
  )


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
    loss = total = totals.cross_entropy(logits, batch, setup.smoothing)
    if head is not None:
      side = totals.cross_entropy(head, batch, setup.smoothing)
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
    sums=totals.count(state.sums, logits, batch, loss, state.step),
  )


def judge(
  state: State, batch: split.Batch, seen: totals.Totals, setup: Setup
) -> totals.Totals:
  """Adds a batch of uint8 images to the sums.

  They are not augmented, and the running statistics normalise.
  """
  variables = {'params': state.weights, 'batch_stats': state.stats}
  images = augment.prepare(batch.image, setup.mean, setup.std)
  at = jax.random.fold_in(jax.random.key(0), seen.rows)  # of noise, a batch's
  logits = setup.net.apply(variables, images, key=at)
  loss = totals.cross_entropy(logits, batch)
  return totals.count(seen, logits, batch, loss, state.step)


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
  seen: totals.Totals,
  start: jax.Array,
  stop: jax.Array,
  setup: Setup,
) -> totals.Totals:
  """Judges batches `start` to `stop` of the test images."""
  examples = len(test.labels)
  order = split.blocks(jnp.arange(examples), examples, setup.batch_size)

  def body(n, seen):
    return judge(state, split.gather(test, order[n]), seen, setup)

  return lax.fori_loop(start, stop, body, seen)

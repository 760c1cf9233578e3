"""The search: alternating updates of alphas and weights, with distillation.

`step` is Algorithm 1 of SD-DARTS (Zhu et al. 2023); everything it needs is an
argument. `advance` and `validate` run many of its kind in one dispatch.
"""

import dataclasses
import functools
from typing import Any
from typing import NamedTuple

import flax.linen as nn
import jax
from jax import flatten_util
from jax import lax
import jax.numpy as jnp
import optax

from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import split
from sdnas_jax.methods import method as methods

Tree = Any
NEVER = jnp.iinfo(jnp.int32).max


class Sums(NamedTuple):
  """What an epoch's metrics are made of; the device adds, the host divides."""

  rows: jax.Array
  loss: jax.Array  # cross-entropy
  correct: jax.Array
  distill: jax.Array
  diverged: jax.Array  # int32, first step whose loss or update was not finite


class State(NamedTuple):
  """Everything that a step reads and writes, and a checkpoint holds."""

  step: jax.Array  # int32, updates done
  epoch: jax.Array  # int32, epochs completed, validation included
  params: dict[str, Tree]  # weights, alphas
  stats: Tree  # running statistics of the normalisation
  opt: optax.MultiTransformState
  mask: dict[str, jax.Array]  # [edges, primitives] bool: operations alive
  memory: Tree  # what the supernet said of each training example
  sums: Sums  # of the epoch under way


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['distill', 'epochs', 'alpha_warmup'],
  meta_fields=['net', 'tx', 'method', 'augment', 'mean', 'std', 'batch_size'],
)
@dataclasses.dataclass(frozen=True)
class Setup:
  """A search's fixed parts.

  A compiled step serves all values of its numbers, but for the batch size,
  which gives shapes.
  """

  net: nn.Module
  tx: optax.GradientTransformation
  method: methods.Method
  distill: distill.Distillation
  augment: augment.Augment
  mean: tuple[float, ...]
  std: tuple[float, ...]
  batch_size: int
  epochs: int
  alpha_warmup: int  # epochs before the alphas move


def zero() -> Sums:
  """The sums of nothing."""
  sums = (jnp.zeros(()) for _ in range(4))  # apart, as a donated state must be
  return Sums(*sums, diverged=jnp.full((), NEVER, jnp.int32))


def forward(
  net: nn.Module, w: Tree, stats: Tree, batch: split.Batch, mix: Tree
) -> tuple[jax.Array, Tree]:
  """A training forward pass: logits, and the running statistics after it."""
  logits, state = net.apply(
    {'params': w, 'batch_stats': stats},
    batch.image,
    mix,
    train=True,
    present=batch.present,
    mutable=['batch_stats'],
  )
  return logits, state['batch_stats']


def cross_entropy(logits: jax.Array, batch: split.Batch) -> jax.Array:
  """Mean over the rows present."""
  each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
  return jnp.sum(each * batch.present) / jnp.sum(batch.present)


def step(
  state: State,
  key: jax.Array,
  train: split.Batch,
  valid: split.Batch,
  setup: Setup,
) -> State:
  """One update of the alphas on `valid`, then one of the weights on `train`."""
  net, tx, method, epoch = setup.net, setup.tx, setup.method, state.epoch
  t = epoch / setup.epochs
  keys = jax.random.split(key, 3)
  w = state.params['weights']

  def train_loss(w, mix):
    logits, stats = forward(net, w, state.stats, train, mix)
    loss = cross_entropy(logits, train)
    term = setup.distill.loss(state.memory, train, logits, epoch)
    return loss + setup.distill.weight * term, (logits, stats, loss, term)

  def valid_loss(w, a):
    mix = method.relax(keys[0], a, state.mask, t)
    logits, _ = forward(net, w, state.stats, valid, mix)
    return cross_entropy(logits, valid) + method.penalty(a, mix, t)

  def virtual(grads):
    new, _ = optimizers.update(tx, 'weights', grads, state.opt, state.params)
    return new['weights']

  def inner_loss(w, a):
    return train_loss(w, method.relax(keys[0], a, state.mask, t))[0]

  def move_alphas(params, opt):
    a = params['alphas']
    grads = method.hypergrad(inner_loss, valid_loss, w, a, virtual)
    return optimizers.update(tx, 'alphas', grads, opt, params)

  moving, rest = epoch >= setup.alpha_warmup, lambda *same: same
  params, opt = lax.cond(moving, move_alphas, rest, state.params, state.opt)

  mix = method.relax(keys[1], params['alphas'], state.mask, t)
  mix = method.perturb(keys[2], mix, lambda mix: train_loss(w, mix)[0], t)
  mix = lax.stop_gradient(mix)
  grads, seen = method.descend(lambda w: train_loss(w, mix), w)
  logits, stats, loss, term = seen
  params, opt = optimizers.update(tx, 'weights', grads, opt, params)

  said = setup.distill.soften(logits)
  memory = setup.distill.memory.push(state.memory, train.index, said)
  sums = count(state.sums, logits, train, loss, term)
  size = jnp.linalg.norm(flatten_util.ravel_pytree(params)[0])
  sums = watch(sums, loss + term + size, state.step)
  return state._replace(
    step=state.step + 1,
    params=params,
    stats=stats,
    opt=opt,
    memory=memory,
    sums=sums,
  )


def count(
  sums: Sums,
  logits: jax.Array,
  batch: split.Batch,
  loss: jax.Array,
  term: jax.Array,
) -> Sums:
  """Adds a batch to the sums."""
  rows = jnp.sum(batch.present)
  right = (jnp.argmax(logits, axis=-1) == batch.label) & batch.present
  return sums._replace(
    rows=sums.rows + rows,
    loss=sums.loss + rows * loss,
    correct=sums.correct + jnp.sum(right),
    distill=sums.distill + rows * term,
  )


def watch(sums: Sums, value: jax.Array, step: jax.Array) -> Sums:
  """Notes the step if the value is not finite."""
  bad = jnp.where(jnp.isfinite(value), NEVER, step)
  return sums._replace(diverged=jnp.minimum(sums.diverged, bad))


def advance(
  state: State,
  key: jax.Array,
  train: split.Split,
  valid: split.Split,
  stop: jax.Array,
  setup: Setup,
) -> State:
  """Steps on to step number `stop`, in this epoch, without the host.

  The bound is traced, so one compilation serves any number of steps.
  """
  steps = split.batches(len(train.labels), setup.batch_size)
  take = functools.partial(
    split.take, mean=setup.mean, std=setup.std, how=setup.augment
  )
  shuffle, _, vary, noise = jax.random.split(key, 4)
  order = split.order(
    jax.random.fold_in(shuffle, state.epoch), train, setup.batch_size
  )

  def body(_, state):
    at = functools.partial(jax.random.fold_in, data=state.step)
    own = jax.random.split(at(vary))[0]
    ours = take(train, order[state.step % steps], key=own)
    theirs = alpha_batch(key, state.step, valid, setup)
    return step(state, at(noise), ours, theirs, setup)

  return lax.fori_loop(state.step, stop, body, state)


def alpha_batch(
  key: jax.Array, step: jax.Array, valid: split.Split, setup: Setup
) -> split.Batch:
  """What the alphas see at a step; `key` is the whole run's."""
  _, draw, vary, _ = jax.random.split(key, 4)
  at = functools.partial(jax.random.fold_in, data=step)
  index = split.sample(at(draw), valid, setup.batch_size)
  own = jax.random.split(at(vary))[1]
  return split.take(valid, index, setup.mean, setup.std, setup.augment, own)


def validate(
  state: State,
  key: jax.Array,
  valid: split.Split,
  sums: Sums,
  start: jax.Array,
  stop: jax.Array,
  setup: Setup,
) -> Sums:
  """Adds batches `start` to `stop` of the valid half to the sums.

  Images are not augmented and the running statistics normalise.
  """
  examples = len(valid.labels)
  order = split.blocks(jnp.arange(examples), examples, setup.batch_size)
  t = state.epoch / setup.epochs
  alphas = state.params['alphas']
  mix = setup.method.relax(key, alphas, state.mask, t)
  variables = {'params': state.params['weights'], 'batch_stats': state.stats}

  def body(n, sums):
    batch = split.take(valid, order[n], setup.mean, setup.std)
    given = batch.image, mix, False, batch.present
    logits = setup.net.apply(variables, *given)
    loss = cross_entropy(logits, batch)
    sums = count(sums, logits, batch, loss, 0.0)
    return watch(sums, loss, state.step)

  return lax.fori_loop(start, stop, body, sums)


def init(
  setup: Setup,
  variables: Tree,
  alphas: dict[str, jax.Array],
  mask: dict[str, jax.Array],
  examples: int,
  classes: int,
) -> State:
  """The state before the first step, from first values of the parameters."""
  params = {'weights': variables['params'], 'alphas': alphas}
  return State(
    step=jnp.zeros((), jnp.int32),
    epoch=jnp.zeros((), jnp.int32),
    params=params,
    stats=variables['batch_stats'],
    # One program; without jit, XLA compiles one for each shape of zeros.
    opt=jax.jit(setup.tx.init)(params),
    mask=mask,
    memory=setup.distill.memory.init(examples, classes),
    sums=zero(),
  )


def averages(sums: Sums) -> dict[str, float]:
  """Mean loss, accuracy and distillation term."""
  rows = float(sums.rows)
  return {
    'loss': float(sums.loss) / rows,
    'accuracy': float(sums.correct) / rows,
    'distill': float(sums.distill) / rows,
  }

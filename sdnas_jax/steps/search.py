"""The search: alternating updates of alphas and weights, with distillation.

`step` is Algorithm 1 of SD-DARTS (Zhu et al. 2023); everything it needs is an
argument. `advance` and `validate` run many of its kind in one dispatch.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
from typing import Any
from typing import NamedTuple

from flax import struct
import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import optax

from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import teachers
from sdnas_jax.data import split
from sdnas_jax.data.augment import Augment
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import instances
from sdnas_jax.methods import method as methods
from sdnas_jax.steps import totals

Tree = Any


class State(NamedTuple):
  """Everything that a step reads and writes, and a checkpoint holds.

  Steps and epochs are those of the search's stage.
  """

  step: jax.Array  # int32, updates done
  epoch: jax.Array  # int32, epochs completed, validation included
  params: dict[str, Tree]  # weights, alphas
  stats: Tree  # running statistics of the normalisation
  opt: optax.MultiTransformState
  mask: dict[str, jax.Array]  # bool, like each kind's alphas: operations alive
  own: Tree  # the method's numbers
  rates: dict[str, jax.Array]  # the optimisers' numbers, by the config's names
  memory: Tree  # the teacher's, as what was said of each training example
  gradient: Tree  # of the weights, clipped, of the last step, if observed
  sums: totals.Totals  # of the epoch under way

  @property
  def arch(self) -> archs.Arch:
    """What is searched."""
    return archs.Arch(self.params['alphas'], self.mask, self.own)


@struct.dataclass
class Setup:
  """A search's fixed parts.

  A compiled step serves all values of its numbers, but for the batch size,
  which gives shapes.
  """

  net: nn.Module = struct.field(pytree_node=False)
  method: methods.Method
  # Of the gradients of both groups; each is a jax.tree_util.Partial.
  rule: Callable[..., Any]
  alpha_rule: Callable[..., Tree]
  # Of the weights' learning rate.
  schedule: Callable[..., jax.Array] = struct.field(pytree_node=False)
  nesterov: bool = struct.field(pytree_node=False)
  distill: distill.Distillation
  augment: Augment = struct.field(pytree_node=False)
  mean: tuple[float, ...] = struct.field(pytree_node=False)
  std: tuple[float, ...] = struct.field(pytree_node=False)
  batch_size: int = struct.field(pytree_node=False)
  steps: int  # an epoch
  before: int  # epochs that the schedules have behind them at the first
  epochs: int  # of the schedules
  alpha_warmup: int  # epochs before the alphas move
  # Probability in the last epoch, reached linearly from 0; None: none at all.
  drop_path: float | None = None
  # One of `optimizers.OPTIMIZERS`.
  alpha_optimizer: Callable[..., optax.GradientTransformation] = struct.field(
    pytree_node=False, default=optimizers.adam
  )


class Seen(NamedTuple):
  """What the weights' loss saw."""

  logits: jax.Array
  stats: Tree
  loss: jax.Array  # cross-entropy
  term: jax.Array  # of the distillation


def forward(
  net: nn.Module,
  w: Tree,
  stats: Tree,
  batch: split.Batch,
  mix: Tree,
  running: bool = False,
) -> tuple[jax.Array, Tree]:
  """Logits, and the running statistics after them.

  A training pass; with `running`, those statistics normalise and stay.
  """
  logits, state = net.apply(
    {'params': w, 'batch_stats': stats},
    batch.image,
    mix,
    train=not running,
    present=batch.present,
    mutable=[] if running else ['batch_stats'],
  )
  return logits, state.get('batch_stats', stats)


def step(
  state: State,
  key: jax.Array,
  train: split.Batch,
  valid: split.Batch,
  setup: Setup,
) -> State:
  """One update of the alphas on `valid`, then one of the weights on `train`."""
  keys = jax.random.split(key, 3)
  turn, given = setup.method.turn, (keys, train, setup)
  state = restarted(state, setup)
  if turn == 'joint':
    state, seen = move_both(state, *given)
  elif turn == 'weights_first':
    state, seen = move_weights(state, *given)
    state = move_alphas(state, *given, valid)
  else:
    state = move_alphas(state, *given, valid)
    state, seen = move_weights(state, *given)
  student = teachers.Student(state.params['weights'], seen.stats)
  said, push = setup.distill.soften(seen.logits), setup.distill.teacher.push
  counted = totals.count(
    *(state.sums, seen.logits, train, seen.loss, state.step), seen.term
  )
  size = optimizers.norm(state.params)
  return state._replace(
    step=state.step + 1,
    stats=seen.stats,
    memory=push(state.memory, train.index, said, student),
    sums=totals.watch(counted, size, state.step),
  )


def move_alphas(state, keys, train, setup, valid):
  """The alphas' update, in which no running statistic moves."""
  method, now, tx = setup.method, clock(state, setup), optimiser(state, setup)
  arch, train_loss = state.arch, training(state, keys, train, setup, 'alphas')
  more = beside(state, keys, setup, 'valid')
  criterion = method.criterion or totals.cross_entropy

  def mixed(a):
    own = arch._replace(alphas=a)
    return own, method.draw(keys[0], own, now, 'alphas')

  def valid_loss(w, a):
    own, mix = mixed(a)
    logits, _ = forward(setup.net, w, state.stats, valid, mix | more)
    return criterion(logits, valid) + method.penalty(own, mix, now)

  def accuracy(w, mix):
    logits, _ = forward(setup.net, w, state.stats, valid, mix | more)
    right = (logits.argmax(axis=-1) == valid.label) & valid.present
    return jnp.sum(right) / jnp.sum(valid.present)

  def virtual(grads):
    new, _ = optimizers.update(tx, 'weights', grads, state.opt, state.params)
    return new['weights']

  def gradient():
    problem = hypergrad.Problem(
      w=state.params['weights'],
      a=arch.alphas,
      train=lambda w, a: train_loss(w, mixed(a)[1])[0],
      valid=valid_loss,
      virtual=virtual,
      rate=rate(state, setup),
      arch=arch,
      draw=lambda n: method.draw(
        jax.random.fold_in(keys[0], n), arch, now, 'alphas'
      ),
      accuracy=accuracy,
    )
    grads, own = setup.alpha_rule(method.hypergrad, problem), state.own
    if isinstance(grads, hypergrad.Learned):
      grads, own = grads
    if method.observe is not None:
      w, a = problem.w, problem.a
      both = {'train': state.gradient, 'valid': jax.grad(valid_loss)(w, a)}
      own = method.observe(own, both, instances.owners(setup.net, w), now)
    return grads, own

  return turn_alphas(state, keys[0], gradient, setup)


def move_weights(state, keys, train, setup):
  """The weights' update, under the mix that the method perturbs."""
  method, now = setup.method, clock(state, setup)
  loss = training(state, keys, train, setup, 'weights')
  w = state.params['weights']
  drawn = method.draw(keys[1], state.arch, now, 'weights')
  mix = method.perturb(
    keys[2], drawn, lambda mix, running: loss(w, mix, running)[0], now
  )
  mix = lax.stop_gradient(mix)
  grads, seen = method.descend(setup.rule, loss, w, mix, now)
  return turn_weights(state, grads, drawn, setup), seen


def move_both(state, keys, train, setup):
  """Both groups' updates, by one backward pass on the training batch."""
  method, now = setup.method, clock(state, setup)
  arch = state.arch
  train_loss = training(state, keys, train, setup, 'weights')

  def loss(params):
    own = arch._replace(alphas=params['alphas'])
    mix = method.draw(keys[1], own, now, 'weights')
    value, seen = train_loss(params['weights'], mix)
    return value + method.penalty(own, mix, now), (seen, mix)

  grads, (seen, mix) = setup.rule(loss, state.params)
  state = turn_weights(state, grads['weights'], mix, setup)
  moved = grads['alphas'], state.own
  return turn_alphas(state, keys[1], lambda: moved, setup), seen


def turn_weights(state, grads, mix, setup):
  """The weights' update by a gradient, but for those that the method holds."""
  method, w, held = setup.method, state.params['weights'], None
  if method.held is not None:
    held = instances.spread(method.held(state.own, mix), setup.net, w)
    grads = jax.tree.map(lambda h, g: jnp.where(h, 0, g), held, grads)
  args = 'weights', grads, state.opt, state.params, held
  params, opt = optimizers.update(optimiser(state, setup), *args)
  if method.observe is not None:
    grads = optimizers.clipped(grads, state.rates['weights.clip'])
    state = state._replace(gradient=grads)
  return state._replace(params=params, opt=opt)


def turn_alphas(state, key, gradient, setup):
  """The alphas' update by gradient(), if it is their turn.

  What gradient() returns is theirs, and the method's numbers with it.
  """
  now, tx = clock(state, setup), optimiser(state, setup)
  before, moves = state.arch, setup.method.moves(now)
  due = jnp.any(jnp.asarray(jax.tree.leaves(moves)))

  def go(params, opt, own):
    grads, own = gradient()
    return *optimizers.update(tx, 'alphas', grads, opt, params), own

  params, opt, own = lax.cond(
    due & (now.epoch >= setup.alpha_warmup),
    go,
    lambda *same: same,
    *(state.params, state.opt, state.own),
  )
  after = params['alphas']
  if isinstance(moves, dict):
    after = {
      k: jnp.where(moves[k], a, before.alphas[k]) for k, a in after.items()
    }
  after = setup.method.settle(key, before, after, now)
  if setup.method.remember is not None:
    own = setup.method.remember(archs.Arch(after, state.mask, own), now)
  return state._replace(params={**params, 'alphas': after}, opt=opt, own=own)


def restarted(state, setup):
  """With optimisers that know of no step yet, if the method begins anew."""
  if setup.method.restarts is None:
    return state
  again = setup.method.restarts(clock(state, setup))
  fresh = optimiser(state, setup).init(state.params)
  choose = functools.partial(jnp.where, again)
  return state._replace(opt=jax.tree.map(choose, fresh, state.opt))


def training(state, keys, batch, setup, group):
  """The weights' loss, (w, mix, running) -> value, `Seen`.

  `group` is whose step it is in.
  """
  more = beside(state, keys, setup, group)
  other = batch if batch.again is None else batch._replace(image=batch.again)

  def loss(w, mix, running=False):
    def see(w, stats, batch, running):
      return forward(setup.net, w, stats, batch, mix | more, running)

    def taught(weights, stats=None):
      if stats is None:
        return see(weights, state.stats, other, running)[0]
      return see(weights, stats, other, True)[0]

    logits, stats = see(w, state.stats, batch, running)
    own = totals.cross_entropy(logits, batch)
    epoch = clock(state, setup).epoch
    term = setup.distill.loss(state.memory, batch, logits, epoch, taught)
    total = own + setup.distill.weigh(epoch) * term
    return total, Seen(logits, stats, own, term)

  return loss


PASSES = 'alphas', 'valid', 'weights'  # of a step, that drop and draw apart


def beside(state, keys, setup, which):
  """What a pass is given besides a mix: which paths to drop, and the noise.

  All evaluations of one loss are given the same, so that it is a function.
  """
  # Behind what a perturbation draws by the same key, a table each.
  place = len(state.mask) + 2 * PASSES.index(which)
  drop, noise = (
    functools.partial(jax.random.fold_in, keys[2], place + n) for n in range(2)
  )
  more = {}
  if setup.drop_path is not None:
    now = clock(state, setup)
    share = now.epoch / jnp.maximum(now.epochs - 1, 1)
    more['drop_path'] = drop(), setup.drop_path * share
  if 'noise' in setup.net.space.primitives:
    more['noise'] = noise()
  return more


def clock(state: State, setup: Setup) -> archs.Now:
  """The state's time, by the schedules."""
  within = state.step - state.epoch * setup.steps
  epoch, epochs = setup.before + state.epoch, jnp.asarray(setup.epochs)
  return archs.Now(within, epoch, epochs)


def rate(state: State, setup: Setup) -> jax.Array:
  """The weights' learning rate."""
  now = clock(state, setup)
  lr, low, warmup = (
    state.rates[f'weights.{name}'] for name in ('lr', 'lr_min', 'warmup')
  )
  lr = setup.schedule(lr, low, now.epoch, now.epochs)
  return optimizers.warm(lr, now.epoch, warmup)


def optimiser(state: State, setup: Setup) -> optax.GradientTransformation:
  """Both groups', at the state's rates."""
  lr = rate(state, setup)
  own = setup.nesterov, setup.alpha_optimizer
  return optimizers.both(state.rates, lr, *own)


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
  shuffle, _, vary, noise = jax.random.split(key, 4)
  order = split.order(
    jax.random.fold_in(shuffle, state.epoch), train, setup.batch_size
  )

  def body(_, state):
    at = functools.partial(jax.random.fold_in, data=state.step)
    own = jax.random.split(at(vary))[0]
    index, how = order[state.step % steps], setup.augment
    ours = split.take(train, index, setup.mean, setup.std, how, own)
    if setup.distill.teacher.again:
      more = jax.random.fold_in(at(vary), 2)  # apart from what is split of it
      other = split.take(train, index, setup.mean, setup.std, how, more)
      ours = ours._replace(again=other.image)
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
  valid: split.Split,
  seen: totals.Totals,
  start: jax.Array,
  stop: jax.Array,
  setup: Setup,
) -> totals.Totals:
  """Adds batches `start` to `stop` of the valid half to the sums.

  Images are not augmented and the running statistics normalise.
  """
  examples = len(valid.labels)
  order = split.blocks(jnp.arange(examples), examples, setup.batch_size)
  mix = setup.method.relax(state.arch, clock(state, setup))
  w = state.params['weights']

  def body(n, seen):
    batch = split.take(valid, order[n], setup.mean, setup.std)
    given = mix | unlike(n, setup)
    logits, _ = forward(setup.net, w, state.stats, batch, given, running=True)
    loss = totals.cross_entropy(logits, batch)
    return totals.count(seen, logits, batch, loss, state.step)

  return lax.fori_loop(start, stop, body, seen)


def unlike(n, setup):
  """The noise's key of batch n in validation, the same at every time."""
  if 'noise' not in setup.net.space.primitives:
    return {}
  return {'noise': jax.random.fold_in(jax.random.key(0), n)}


def init(
  setup: Setup,
  variables: Tree,
  arch: archs.Arch,
  rates: Mapping[str, float],
  examples: int,
  classes: int,
) -> State:
  """The state before the first step, from first values of the parameters."""
  params = {'weights': variables['params'], 'alphas': arch.alphas}
  rates = {name: jnp.asarray(float(value)) for name, value in rates.items()}
  student = teachers.Student(variables['params'], variables['batch_stats'])
  tx = optimizers.both(rates, 0.0, setup.nesterov, setup.alpha_optimizer)
  return State(
    step=jnp.zeros((), jnp.int32),
    epoch=jnp.zeros((), jnp.int32),
    params=params,
    stats=variables['batch_stats'],
    # One program; without jit, XLA compiles one for each shape of zeros.
    opt=jax.jit(tx.init)(params),
    mask=arch.mask,
    own=arch.own,
    rates=rates,
    memory=setup.distill.teacher.init(examples, classes, student),
    gradient=jax.tree.map(
      jnp.zeros_like, variables['params'] if setup.method.observe else ()
    ),
    sums=totals.zero(),
  )

"""The search step: a contract that every method keeps, and SD-DARTS's own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import parallel
from sdnas_jax import search
from sdnas_jax.bilevel import distill
from sdnas_jax.data import split
from sdnas_jax.methods import method as methods
from sdnas_jax.methods import METHODS
from tests import toys

STEPS = 3  # of an epoch: 20 examples in batches of 8


run = jax.jit(search.advance, out_shardings=parallel.everywhere())


@functools.cache
def untaught():
  """A search that knows nothing of distillation."""
  return toys.setup(weight=0.0)


@functools.cache
def compiled(method):
  return toys.setup(method)


def setup(method='darts', **change):
  """Changed numbers of the distillation compile nothing anew."""
  parts = compiled(method)
  term = dataclasses.replace(parts.distill, **change)
  return dataclasses.replace(parts, distill=term)


def advance(state, stop, parts):
  return run(state, jax.random.key(0), *toys.halves(), stop, parts)


def enter(state, epoch):
  fresh = parallel.replicate((np.int32(epoch), search.zero()))
  return state._replace(epoch=fresh[0], sums=fresh[1])


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('weight', [0.0, 1.0])
@pytest.mark.parametrize('method', sorted(METHODS))
def test_contract(method, weight):
  """What holds for every method, with and without distillation."""
  parts = setup(method, weight=weight)
  begin = toys.state(parts)
  end = advance(begin, STEPS, parts)
  assert int(end.step) == STEPS and int(end.epoch) == 0
  assert float(end.sums.rows) == 20  # padding does not count
  assert int(end.sums.diverged) == search.NEVER
  for leaf in jax.tree.leaves(end.params):
    assert np.isfinite(leaf).all()
  for group in ('weights', 'alphas'):
    moved = jax.tree.map(
      lambda a, b: not np.array_equal(a, b),
      begin.params[group],
      end.params[group],
    )
    assert any(jax.tree.leaves(moved))
  jax.tree.map(
    lambda a, b: np.testing.assert_equal(
      (a.shape, a.dtype), (b.shape, b.dtype)
    ),
    begin,
    end,
  )
  # Another way of dispatching the same steps changes no bit.
  equal(advance(advance(begin, 1, parts), STEPS, parts), end)
  space = toys.SPACE
  mix = METHODS[method].relax(
    jax.random.key(0), end.params['alphas'], end.mask, 0.0
  )
  found = METHODS[method].discretize(space, jax.device_get(mix))
  for graph in found.graphs.values():
    assert [len(pairs) for pairs in graph.nodes] == [2] * space.nodes


def reference(state, key, epochs):
  """First-order DARTS without a word of distillation, step by step."""
  parts = untaught()
  train, valid = toys.halves()
  shuffle, draw, vary, _ = jax.random.split(key, 4)
  w, a = state.params['weights'], state.params['alphas']
  tx = parts.tx
  opt = tx.init(state.params)
  stats = state.stats

  def loss(w, a, stats, batch):
    mix = {k: jax.nn.softmax(v) for k, v in a.items()}
    logits, new = parts.net.apply(
      {'params': w, 'batch_stats': stats},
      batch.image,
      mix,
      train=True,
      present=batch.present,
      mutable=['batch_stats'],
    )
    each = -jax.nn.log_softmax(logits)[jnp.arange(8), batch.label]
    mean = jnp.sum(each * batch.present) / jnp.sum(batch.present)
    return mean, new['batch_stats']

  of_a = jax.jit(jax.grad(loss, 1, has_aux=True))
  of_w = jax.jit(jax.value_and_grad(loss, has_aux=True))
  losses = []
  for step in range(STEPS * epochs):
    order = split.order(jax.random.fold_in(shuffle, step // STEPS), train, 8)
    keys = jax.random.split(jax.random.fold_in(vary, step))
    take = functools.partial(
      split.take, mean=parts.mean, std=parts.std, how=parts.augment
    )
    ours = take(train, order[step % STEPS], key=keys[0])
    index = split.sample(jax.random.fold_in(draw, step), valid, 8)
    g, _ = of_a(w, a, stats, take(valid, index, key=keys[1]))
    zero = jax.tree.map(jnp.zeros_like, w)
    params = {'weights': w, 'alphas': a}
    move, new = tx.update({'weights': zero, 'alphas': g}, opt, params)
    a = optax.apply_updates(a, move['alphas'])
    opt.inner_states['alphas'] = new.inner_states['alphas']
    (value, stats), g = of_w(w, a, stats, ours)
    params = {'weights': w, 'alphas': a}
    zero = jax.tree.map(jnp.zeros_like, a)
    move, new = tx.update({'weights': g, 'alphas': zero}, opt, params)
    w = optax.apply_updates(w, move['weights'])
    opt.inner_states['weights'] = new.inner_states['weights']
    losses.append(float(value))
  return {'weights': w, 'alphas': a}, stats, losses


def test_without_distillation_it_is_darts():
  parts = untaught()
  begin = toys.state(parts)
  end = advance(begin, STEPS, parts)
  params, stats, losses = reference(begin, jax.random.key(0), 1)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
  jax.tree.map(close, end.params, params)
  jax.tree.map(close, end.stats, stats)
  rows = np.array([8, 8, 4])
  np.testing.assert_allclose(float(end.sums.loss), rows @ losses, rtol=1e-4)


def epochs(parts, last):
  """A search from the first epoch to the last, and its distillation losses."""
  state, seen = toys.state(parts), []
  for epoch in range(last):
    state = advance(enter(state, epoch), STEPS * (epoch + 1), parts)
    seen.append(float(state.sums.distill))
  return state, seen


@pytest.mark.parametrize('change', [{'warmup': 2}, {'weight': 0.0}])
def test_untaught_it_is_darts_bit_for_bit(change):
  """In warm-up, or where the weight is 0."""
  plain, _ = epochs(untaught(), 2)
  other, _ = epochs(setup(**change), 2)
  assert plain.memory == () and other.memory.count.min() == 2
  equal(plain.params, other.params)
  equal(plain.opt, other.opt)
  equal(plain.stats, other.stats)


def test_distillation_starts_at_its_epoch_and_changes_the_weights():
  state, seen = epochs(setup(warmup=1), 3)
  plain, _ = epochs(untaught(), 3)
  assert seen[0] == 0 and seen[1] > 0 and seen[2] > 0
  difference = jax.tree.map(
    lambda a, b: float(jnp.abs(a - b).max()), state.params, plain.params
  )
  assert max(jax.tree.leaves(difference)) > 1e-4


def test_the_ring_holds_what_the_supernet_said():
  train, _ = toys.halves()
  state, key = toys.state(setup()), jax.random.key(0)
  order = split.order(
    jax.random.fold_in(jax.random.split(key, 4)[0], 0), train, 8
  )
  end = advance(state, 1, setup())
  np.testing.assert_array_equal(
    np.flatnonzero(end.memory.count), np.sort(order[0])
  )
  said = end.memory.probs[0, order[0]]
  np.testing.assert_allclose(said.sum(-1), np.ones(8), rtol=1e-5)
  # The mean of -log of the label's probability is the cross-entropy recorded.
  labels = train.labels[order[0]]
  loss = -np.log(np.asarray(said)[np.arange(8), labels]).mean()
  np.testing.assert_allclose(float(end.sums.loss) / 8, loss, rtol=1e-5)
  after = advance(end, STEPS, setup())
  np.testing.assert_array_equal(after.memory.count, np.ones(20))


def test_alphas_rest_in_their_own_warm_up():
  parts = dataclasses.replace(setup(), alpha_warmup=1)
  begin = toys.state(parts)
  end = advance(begin, 2, parts)
  equal(begin.params['alphas'], end.params['alphas'])
  after = advance(enter(end, 1), 3, parts)
  assert not np.array_equal(
    begin.params['alphas']['reduce'], after.params['alphas']['reduce']
  )


def test_each_hook_of_a_method_reaches_its_place():
  """Hooks that stop what they touch, so that only the rest moves."""
  only_edge = {k: jnp.zeros(toys.SPACE.shape).at[:, 2].set(1.0)
               for k in toys.SPACE.kinds}  # fmt: skip
  method = methods.Method(
    hypergrad=lambda train, valid, w, a, virtual: jax.tree.map(
      jnp.zeros_like, a
    ),
    perturb=lambda key, mix, loss, t: only_edge,
  )
  parts = dataclasses.replace(setup(), method=method)
  begin = toys.state(parts)
  end = advance(begin, 1, parts)
  adam = end.opt.inner_states['alphas'].inner_state[1]
  decayed = jax.tree.map(lambda a: 0.5 * 1e-3 * a, begin.params['alphas'])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    adam.mu['alphas'],
    decayed,
  )  # the architecture's gradient was 0 but for the decay
  trace = end.opt.inner_states['weights'].inner_state[2].trace
  cell = trace['weights']['cell1']['from0']
  unused, used = cell['first']['pointwise'], cell['skip']['Pointwise_0']
  own = begin.params['weights']['cell1']['from0']['first']['pointwise']
  np.testing.assert_allclose(
    unused, 3e-4 * own, rtol=1e-4, atol=1e-9
  )  # a convolution that the perturbed mix leaves out decays only
  assert np.abs(used['kernel']).max() > 1e-2


def test_validate_equals_a_plain_pass():
  parts = setup()
  state = advance(toys.state(parts), STEPS, parts)
  _, valid = toys.halves()
  look = jax.jit(search.validate)
  key, sums = jax.random.key(1), search.zero()
  for start in range(3):
    sums = look(state, key, valid, sums, start, start + 1, parts)
  pixels = np.asarray(valid.images) / 255
  images = ((pixels - parts.mean) / parts.std).astype(np.float32)
  mix = jax.tree.map(jax.nn.softmax, state.params['alphas'])
  variables = {'params': state.params['weights'], 'batch_stats': state.stats}
  logits = jax.nn.log_softmax(parts.net.apply(variables, images, mix))
  labels = np.asarray(valid.labels)
  got = search.averages(sums)
  assert got['accuracy'] == np.mean(np.argmax(logits, -1) == labels)
  expected = -np.mean(np.asarray(logits)[np.arange(18), labels])
  np.testing.assert_allclose(got['loss'], expected, rtol=1e-4)


def test_the_step_at_which_a_loss_is_lost_is_noted():
  state = toys.state(setup())
  poison = jax.tree.map(lambda w: w * jnp.nan, state.params['weights'])
  state = advance(state, 1, setup())
  state = state._replace(params={**state.params, 'weights': poison})
  assert int(advance(state, STEPS, setup()).sums.diverged) == 1


def test_an_update_that_overflows_is_noted_before_it_is_saved():
  state = toys.state(setup())
  huge = jax.tree.map(
    lambda x: jnp.full_like(x, jnp.inf) if x.ndim == 1 else x, state.opt
  )  # the momentum of the weights
  end = advance(state._replace(opt=huge), 1, setup())
  assert np.isfinite(end.sums.loss)  # seen before the update
  assert int(end.sums.diverged) == 0


def test_the_average_memory_composes_with_the_step():
  parts = toys.setup(vote='average')
  end = advance(toys.state(parts), STEPS, parts)
  assert isinstance(end.memory, distill.Ring)
  assert end.memory.probs.shape == (1, 20, toys.CLASSES)
  np.testing.assert_allclose(end.memory.probs.sum(-1), np.ones((1, 20)), 1e-5)

"""The search step: its turns written out, its hooks, its traced numbers."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import parallel
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from sdnas_jax.bilevel import teachers
from sdnas_jax.data import split
from sdnas_jax.methods import darts_es
from sdnas_jax.methods import gdas
from sdnas_jax.methods.method import Method
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests import toys

STEPS = 3  # of an epoch: 20 examples in batches of 8


run = jax.jit(search.advance, out_shardings=parallel.everywhere())


@functools.cache
def untaught():
  """A search that knows nothing of distillation."""
  return toys.setup(layers=3, augment=toys.VARIED, weight=0.0)


@functools.cache
def taught():
  return toys.setup(layers=3, augment=toys.VARIED)


def setup(**change):
  """Changed numbers of the distillation compile nothing anew."""
  parts = taught()
  term = dataclasses.replace(parts.distill, **change)
  return dataclasses.replace(parts, distill=term)


def advance(state, stop, parts):
  return run(state, jax.random.key(0), *toys.halves(), stop, parts)


def enter(state, epoch):
  fresh = parallel.replicate((np.int32(epoch), totals.zero()))
  return state._replace(epoch=fresh[0], sums=fresh[1])


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def moved(one, two):
  """Which leaves differ."""
  different = lambda a, b: not np.array_equal(a, b)  # noqa: E731
  return jax.tree.leaves(jax.tree.map(different, one, two))


def finite(tree):
  return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def pruned(state):
  """The state with an operation, and a whole edge, of each kind dead."""
  mask = {k: np.array(m) for k, m in state.mask.items()}
  for m in mask.values():
    m[0, 1] = m[1] = False
  return state._replace(mask=parallel.replicate(mask))


def test_an_epoch_counts_each_image_once_however_it_is_dispatched():
  parts = setup()
  begin = toys.state(parts)
  end = advance(begin, STEPS, parts)
  assert int(end.step) == STEPS and int(end.epoch) == 0
  assert float(end.sums.rows) == 20  # padding does not count
  assert int(end.sums.diverged) == totals.NEVER
  equal(advance(advance(begin, 1, parts), STEPS, parts), end)


def test_operations_that_die_compile_nothing_and_harm_nothing():
  """One, and all of an edge; what is dead moves by its decay alone."""
  parts = setup()
  begin = pruned(toys.state(parts))
  end, count = advance(begin, 1, parts), run._cache_size()
  advance(toys.state(parts), 1, parts)
  assert run._cache_size() == count
  assert int(end.sums.diverged) == totals.NEVER and finite(end.params)
  mu = end.opt.inner_states['alphas'].inner_state[2].mu['alphas']
  for kind, alive in begin.mask.items():
    decayed = 0.5 * 1e-3 * begin.params['alphas'][kind]
    np.testing.assert_allclose(mu[kind][~alive], decayed[~alive], rtol=1e-5)
    others = np.abs(mu[kind] - decayed)[alive]
    assert np.mean(others > 1e-7) > 0.5


def squares(arch, mix, now, weight):
  """A penalty of both what is searched and what is mixed."""
  return weight * sum(
    jnp.sum(mix[k] ** 2) + jnp.sum(arch.alphas[k] ** 2) for k in arch.mask
  )


# A turn, the weight of the penalty and SAM's radius.
CASES = [
  ('alternate', 0.0, 0.0),
  ('alternate', 0.3, 0.1),
  ('weights_first', 0.3, 0.0),
  ('joint', 0.3, 0.0),
]


def undistilled(turn, weight, rho):
  """The search of such a case."""
  if (turn, weight, rho) == CASES[0]:
    return untaught()
  penalty = functools.partial(squares, weight=weight)
  parts = toys.setup(Method(turn=turn, penalty=penalty), layers=3, weight=0.0)
  if rho:
    rule = jax.tree_util.Partial(rules.sam, rho=rho)
    parts = dataclasses.replace(parts, rule=rule)
  return parts


def plain(w, a, stats, batch):
  """The loss, and the running statistics after it."""
  mix = {k: jax.nn.softmax(v) for k, v in a.items()}
  logits, new = untaught().net.apply(
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


of_a = jax.jit(jax.grad(plain, 1, has_aux=True))
of_w = jax.jit(jax.value_and_grad(plain, has_aux=True))
tx = optimizers.both(toys.RATES, 0.1, nesterov=False)
updates = jax.jit(tx.update)


def reference(state, key, how, turn, weight, rho):
  """First-order DARTS without a word of distillation, step by step."""
  parts = untaught()
  train, valid = toys.halves()
  shuffle, draw, vary, _ = jax.random.split(key, 4)
  params, stats = jax.device_get((state.params, state.stats))
  opt = tx.init(params)

  def move(group, grads):
    other = {'weights': 'alphas', 'alphas': 'weights'}[group]
    rest = jax.tree.map(np.zeros_like, params[other])
    by, new = updates({group: grads, other: rest}, opt, params)
    params[group] = jax.tree.map(np.add, params[group], by[group])
    opt.inner_states[group] = new.inner_states[group]

  def towards(a, batch):
    """The alphas' gradient, the penalty's by hand."""
    g, _ = of_a(params['weights'], a, stats, batch)
    for kind in g:
      p = jax.nn.softmax(a[kind])
      inner = jnp.sum(p * p, axis=-1, keepdims=True)
      g[kind] += weight * (2 * p * (p - inner) + 2 * a[kind])
    return g

  def downhill(batch):
    at = params['alphas'], stats, batch
    (value, new), g = of_w(params['weights'], *at)
    if rho:
      g = jax.device_get(g)
      size = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(g)))
      up = jax.tree.map(lambda w, g: w + rho * g / size, params['weights'], g)
      _, g = of_w(up, *at)
    return value, new, g

  losses = []
  for step in range(STEPS):
    order = split.order(jax.random.fold_in(shuffle, 0), train, 8)
    keys = jax.random.split(jax.random.fold_in(vary, step))
    take = functools.partial(
      split.take, mean=parts.mean, std=parts.std, how=how
    )
    ours = take(train, order[step % STEPS], key=keys[0])
    index = split.sample(jax.random.fold_in(draw, step), valid, 8)
    theirs = take(valid, index, key=keys[1])
    if turn == 'alternate':
      move('alphas', towards(params['alphas'], theirs))
    value, new, g = downhill(ours)
    together = towards(params['alphas'], ours)
    move('weights', g)
    if turn == 'weights_first':
      move('alphas', towards(params['alphas'], theirs))
    if turn == 'joint':
      move('alphas', together)
    stats = new
    losses.append(float(value))
  return params, stats, losses


@pytest.mark.parametrize('case', CASES)
def test_a_step_is_its_algorithm_written_out(case):
  parts = undistilled(*case)
  begin = toys.state(parts)
  end = advance(begin, STEPS, parts)
  given = begin, jax.random.key(0), parts.augment
  params, stats, losses = reference(*given, *case)
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


def test_paths_are_dropped_ever_more_and_in_both_groups_steps():
  parts = dataclasses.replace(untaught(), epochs=3)
  state = toys.state(parts)
  both = [parts, dataclasses.replace(parts, drop_path=0.6)]
  # In the first epoch none are.
  first, same = (advance(state, 1, own) for own in both)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
  jax.tree.map(close, first.params, same.params)
  late = enter(state, 2)._replace(step=jnp.asarray(2 * STEPS))
  one, two = (advance(late, 2 * STEPS + 1, own) for own in both)
  assert all(moved(one.params['alphas'], two.params['alphas']))
  assert any(moved(one.params['weights'], two.params['weights']))
  # Validation sees all of them.
  _, valid = toys.halves()
  look = jax.jit(search.validate)
  seen = [look(one, valid, totals.zero(), 0, 3, own) for own in both]
  equal(*seen)


def test_distillation_starts_at_its_epoch_and_changes_the_weights():
  state, seen = epochs(setup(warmup=1), 3)
  plain, _ = epochs(untaught(), 3)
  assert seen[0] == 0 and seen[1] > 0 and seen[2] > 0
  difference = jax.tree.map(
    lambda a, b: np.abs(np.subtract(a, b)).max(), state.params, plain.params
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

  def descend(gradient, loss, w, mix, now):
    equal(jax.tree.structure(mix), jax.tree.structure(only_edge))
    grads, seen = gradient(lambda w: loss(w, mix), w)
    rest = jax.tree.map(jnp.zeros_like, grads['classifier'])
    return {**grads, 'classifier': rest}, seen

  method = Method(
    hypergrad=lambda problem: jax.tree.map(jnp.zeros_like, problem.a),
    perturb=lambda key, mix, loss, now: only_edge,
    descend=descend,
    settle=lambda key, before, after, now: {
      **after,
      'reduce': before.alphas['reduce'],
    },
  )
  parts = dataclasses.replace(setup(), method=method, augment=toys.SAME)
  begin = toys.state(parts)
  end = advance(begin, 1, parts)
  adam = end.opt.inner_states['alphas'].inner_state[2]
  decayed = jax.tree.map(lambda a: 0.5 * 1e-3 * a, begin.params['alphas'])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    adam.mu['alphas'],
    decayed,
  )  # the architecture's gradient was 0 but for the decay
  before, after = begin.params['alphas'], end.params['alphas']
  equal(before['reduce'], after['reduce'])  # settled as it was
  assert all(moved(before['normal'], after['normal']))
  trace = end.opt.inner_states['weights'].inner_state[2].trace['weights']
  own = begin.params['weights']
  still = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-9)
  decay = functools.partial(jax.tree.map, lambda w: 3e-4 * w)
  jax.tree.map(still, trace['classifier'], decay(own['classifier']))
  cell, old = (tree['cell1']['from0'] for tree in (trace, own))
  # A convolution that the perturbed mix leaves out decays only.
  still(cell['once']['pointwise'], decay(old['once']['pointwise']))
  assert np.abs(cell['skip']['Pointwise_0']['kernel']).max() > 1e-2


def test_a_step_samples_for_each_group_and_nothing_else_does():
  asked = []

  def sample(key, arch, now, group):
    asked.append(group)
    hard = jax.nn.one_hot(1 + (group == 'weights'), 4)  # pool, or skip
    return {k: jnp.broadcast_to(hard, m.shape) for k, m in arch.mask.items()}

  parts = toys.setup(Method(sample=sample), layers=3, weight=0.0)
  begin = toys.state(parts)
  end = advance(begin, 1, parts)
  assert set(asked) == {'alphas', 'weights'}
  assert not any(
    np.abs(g).max() > 1e-3 * np.abs(a).max()
    for g, a in zip(
      end.opt.inner_states['alphas'].inner_state[2].mu['alphas'].values(),
      begin.params['alphas'].values(),
      strict=True,
    )
  )  # what is sampled without the alphas moves them by their decay alone
  trace = end.opt.inner_states['weights'].inner_state[2].trace['weights']
  assert np.abs(trace['cell1']['from0']['skip']['Pointwise_0']['kernel']).max()
  asked.clear()
  given = end, toys.halves()[1], totals.zero(), 0, 3
  plain = jax.jit(search.validate)(*given, untaught())
  equal(jax.jit(search.validate)(*given, parts), plain)
  assert not asked


def test_tables_move_when_it_is_their_turn():
  """Those that rest beside others keep their moments going."""

  def moves(now):
    return {'normal': now.step != 1, 'reduce': now.step == 0}

  parts = toys.setup(Method(moves=moves), layers=3, weight=0.0)
  states = [toys.state(parts)]
  for stop in (1, 2, 3):
    states.append(advance(states[-1], stop, parts))
  alphas = [state.params['alphas'] for state in states]
  inner = [state.opt.inner_states['alphas'].inner_state[2] for state in states]
  assert all(moved(alphas[0], alphas[1]))
  equal(alphas[1], alphas[2])
  equal(inner[1], inner[2])
  assert all(moved(alphas[2]['normal'], alphas[3]['normal']))
  equal(alphas[2]['reduce'], alphas[3]['reduce'])
  assert all(moved(inner[2].mu, inner[3].mu))
  weights = [state.params['weights'] for state in states]
  for one, two in itertools.pairwise(weights):
    assert any(moved(one, two))


@pytest.mark.parametrize(
  'one, two, same',
  [
    ('darts', darts_es(window=3), True),  # they differ on the host alone
    (gdas(tau_max=10.0), gdas(tau_max=5.0), False),
  ],
)
def test_methods_share_a_program_but_not_its_numbers(one, two, same):
  layers = 3 if same else 1  # an own program is a small one
  one, two = (
    toys.setup(method, layers=layers, weight=0.0) for method in (one, two)
  )
  begin = toys.state(one)
  end, count = advance(begin, 1, one), run._cache_size()
  other = advance(begin, 1, two)
  assert run._cache_size() == count
  changed = any(moved(end.params['alphas'], other.params['alphas']))
  assert changed == (not same)


@pytest.mark.parametrize(
  'rate, factor',
  [
    ('weights.decay', 30.0),
    ('weights.lr', 0.1),
    ('alphas.lr', 0.1),
    ('weights.clip', 1e-3),
    ('weights.momentum', 0.5),
    ('alphas.decay', 100.0),
  ],
)
def test_a_sweep_over_rates_compiles_once(rate, factor):
  begin = toys.state(setup())
  end, count = advance(begin, 2, setup()), run._cache_size()
  rates = {**begin.rates, rate: factor * begin.rates[rate]}
  if rate == 'weights.lr':
    rates['weights.lr_min'] = rates[rate]
  changed = begin._replace(rates=parallel.replicate(rates))
  other = advance(changed, 2, setup())
  assert run._cache_size() == count
  group = rate.split('.')[0]
  assert any(moved(end.params[group], other.params[group]))


def test_a_sweep_over_the_temperature_compiles_once():
  one, _ = epochs(setup(), 2)
  count = run._cache_size()
  two, _ = epochs(setup(temperature=3.0), 2)
  assert run._cache_size() == count
  assert any(moved(one.params['weights'], two.params['weights']))


def test_validate_equals_a_plain_pass():
  parts = setup()
  state = advance(toys.state(parts), STEPS, parts)
  _, valid = toys.halves()
  look = jax.jit(search.validate)
  sums = totals.zero()
  for start in range(3):
    sums = look(state, valid, sums, start, start + 1, parts)
  pixels = np.asarray(valid.images) / 255
  images = ((pixels - parts.mean) / parts.std).astype(np.float32)
  mix = jax.tree.map(jax.nn.softmax, state.params['alphas'])
  variables = {'params': state.params['weights'], 'batch_stats': state.stats}
  logits = jax.jit(parts.net.apply)(variables, images, mix)
  logits = jax.nn.log_softmax(logits)
  labels = np.asarray(valid.labels)
  got = totals.averages(sums)
  assert got['top1'] == np.mean(np.argmax(logits, -1) == labels)
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


def test_an_exponential_average_composes_with_the_step():
  parts = toys.setup(layers=1, teacher='ema')
  end = advance(toys.state(parts), STEPS, parts)
  assert isinstance(end.memory, teachers.Ring)
  assert end.memory.probs.shape == (1, 20, toys.CLASSES)
  np.testing.assert_allclose(end.memory.probs.sum(-1), np.ones((1, 20)), 1e-5)


def test_a_lagging_teacher_waits_as_long_as_it_lags():
  _, seen = epochs(toys.setup(layers=1, teacher='lag', teachers=2), 3)
  assert seen[:2] == [0, 0] and seen[2] > 0

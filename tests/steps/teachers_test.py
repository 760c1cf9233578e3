"""Teachers that run weights, in whole steps of a search."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import parallel
from sdnas_jax.bilevel import rules
from sdnas_jax.data import split
from sdnas_jax.runs import checkpoints
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests import toys

KEY = jax.random.key(0)
STEPS = 3  # of an epoch: 20 examples in batches of 8
NAMES = 'mesa', 'mean_teacher'
run = jax.jit(search.advance, out_shardings=parallel.everywhere())


@functools.cache
def setup(name, **change):
  own = {'layers': 1, 'augment': toys.VARIED, 'decay': 0.6, **change}
  return toys.setup(teacher=name, **own)


def epochs(state, parts, first, last):
  for epoch in range(first, last):
    fresh = parallel.replicate((np.int32(epoch), totals.zero()))
    state = state._replace(epoch=fresh[0], sums=fresh[1])
    state = run(state, KEY, *toys.halves(), STEPS * (epoch + 1), parts)
  return state


def close(a, b):
  np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_two_epochs_and_a_run_that_came_back(name, tmp_path):
  parts = setup(name)
  first = toys.state(parts)
  # Apart, as a donated state must be, though a copy.
  jax.tree.map(
    np.testing.assert_array_equal,
    first.memory.weights,
    first.params['weights'],
  )
  end = epochs(first, parts, 0, 2)
  assert int(end.sums.diverged) == totals.NEVER and float(end.sums.distill) > 0
  half = epochs(first, parts, 0, 1)
  checkpoints.Checkpoints(tmp_path).save(half, whole=True)
  like = jax.eval_shape(lambda: half)
  back = checkpoints.Checkpoints(tmp_path).latest(like)
  again = epochs(back, parts, 1, 2)
  jax.tree.map(np.testing.assert_array_equal, again, end)


@pytest.mark.parametrize('name', NAMES)
def test_the_memory_is_the_average_of_the_steps(name):
  parts = setup(name)
  state = toys.state(parts)
  mean, stats = state.params['weights'], state.stats
  for n in range(1, STEPS + 1):
    state = run(state, KEY, *toys.halves(), n, parts)
    d = min(1 - 1 / (n + 1), 0.6) if name == 'mean_teacher' else 0.6
    towards = lambda a, b: d * a + (1 - d) * b  # noqa: B023, E731
    mean = jax.tree.map(towards, mean, state.params['weights'])
    jax.tree.map(close, state.memory.weights, mean)
    if name == 'mesa':
      stats = jax.tree.map(towards, stats, state.stats)
      jax.tree.map(close, state.memory.stats, stats)


def test_without_a_decay_the_mean_is_the_last_weights():
  parts = setup('mean_teacher', decay=0.0)
  end = run(toys.state(parts), KEY, *toys.halves(), 2, parts)
  jax.tree.map(
    np.testing.assert_array_equal, end.memory.weights, end.params['weights']
  )


def test_another_view_of_the_batch_is_made_where_it_is_asked_for(monkeypatch):
  seen = {}

  def step(state, key, train, valid, parts):
    seen[parts.distill.teacher.again] = train
    return state

  monkeypatch.setattr(search, 'step', step)
  (train, _), parts = toys.halves(), setup('mean_teacher')
  with jax.disable_jit():
    monkeypatch.setattr(
      jax.lax, 'fori_loop', lambda start, stop, body, state: body(start, state)
    )
    for name in NAMES:
      state = toys.state(setup(name))
      search.advance(state, KEY, *toys.halves(), 1, setup(name))
  one, two = seen[False], seen[True]
  assert one.again is None
  np.testing.assert_array_equal(one.image, two.image)
  same = np.all(np.equal(two.image, two.again), axis=(1, 2, 3))
  assert not same.all()
  # It is a variation of the same images, by the run's seed alone.
  _, _, vary, _ = jax.random.split(KEY, 4)
  key = jax.random.fold_in(jax.random.fold_in(vary, 0), 2)
  given = two.index, parts.mean, parts.std, parts.augment, key
  expected = split.take(train, *given).image
  np.testing.assert_array_equal(two.again, expected)


@pytest.mark.parametrize('name', NAMES)
def test_it_is_the_teacher_s_pass_that_the_term_has(name):
  """Under the step's own mix; see(weights) or see(weights, stats)."""
  parts = setup(name)
  state = epochs(toys.state(parts), parts, 0, 1)
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((2, 8, *toys.IMAGE)).astype(np.float32)
  batch = split.Batch(
    x, jnp.zeros(8, jnp.int32), jnp.arange(8), jnp.arange(8) < 6, y
  )
  mix = parts.method.relax(state.arch, None)
  keys = jax.random.split(jax.random.key(0), 3)
  own = keys, batch, parts, 'weights'
  loss = jax.jit(lambda state: search.training(state, *own)(
    state.params['weights'], mix
  )[1])  # fmt: skip
  seen = loss(state)
  if name == 'mesa':
    given = *state.memory, batch._replace(image=y), mix, True
  else:
    given = state.memory.weights, state.stats, batch._replace(image=y), mix
  logits, _ = jax.jit(search.forward, static_argnums=(0, 5))(parts.net, *given)
  q = jax.nn.softmax(logits)
  p = jax.nn.log_softmax(seen.logits)
  expected = jnp.sum(q * (jnp.log(q) - p), axis=-1)[:6].mean()
  np.testing.assert_allclose(seen.term, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize('name', NAMES)
def test_it_composes_with_sam_and_second_order(name):
  parts = dataclasses.replace(
    toys.setup('darts2', layers=1, teacher=name, decay=0.6),
    rule=rules.bound(rules.asam, {'rho': 0.5, 'eta': 0.01}),
  )
  end = run(toys.state(parts), KEY, *toys.halves(), 1, parts)
  assert int(end.sums.diverged) == totals.NEVER
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(end.params))


def test_a_sweep_over_a2m_s_radius_compiles_once():
  one, two = (
    dataclasses.replace(
      toys.setup(layers=1, weight=0.0),
      alpha_rule=rules.bound(rules.a2m, {'rho': rho}),
    )
    for rho in (0.1, 1e3)
  )
  first, count = toys.state(one), run._cache_size()
  ends = [run(first, KEY, *toys.halves(), 1, parts) for parts in (one, two)]
  assert run._cache_size() == count + 1
  moments = [
    end.opt.inner_states['alphas'].inner_state[2].mu['alphas']['reduce']
    for end in ends
  ]
  assert not np.allclose(*moments, rtol=1e-2, atol=0)

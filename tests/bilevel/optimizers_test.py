"""The optimisers against the formulas of PyTorch's, in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax.bilevel import optimizers


def run(tx, group, gradients, params):
  opt = tx.init(params)
  for g in gradients:
    params, opt = optimizers.update(tx, group, jnp.asarray(g), opt, params)
  return params, opt


@pytest.fixture
def gradients():
  return np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


@pytest.fixture
def start():
  return {
    'weights': jnp.array([1.0, -2.0, 3.0]),
    'alphas': jnp.array([0.1, 0.2, 0.3]),
  }


def make():
  schedule = optimizers.cosine(0.1, 0.01, epochs=3, steps=2)
  return optimizers.split(
    optimizers.sgd(schedule, momentum=0.9, decay=0.02, clip=1.0),
    optimizers.adam(0.01, 0.5, 0.999, decay=0.03),
  )


def test_sgd_clips_then_decays_then_has_momentum(gradients, start):
  params, _ = run(make(), 'weights', gradients, start)
  w, buffer = np.array([1.0, -2.0, 3.0]), 0.0
  for n, g in enumerate(gradients):
    g = g * min(1.0, 1.0 / np.linalg.norm(g)) + 0.02 * w
    buffer = 0.9 * buffer + g
    lr = 0.01 + 0.5 * 0.09 * (1 + np.cos(np.pi * (n // 2) / 3))
    w = w - lr * buffer
  np.testing.assert_allclose(params['weights'], w, rtol=1e-5)


def test_nesterov_s_momentum_is_pytorch_s(gradients, start):
  tx = optimizers.sgd(0.1, momentum=0.9, decay=0.02, clip=1.0, nesterov=True)
  params, _ = run(
    optimizers.split(tx, optimizers.adam(0.01, 0.5, 0.999, 0.03)),
    *('weights', gradients, start),
  )
  w, buffer = np.array([1.0, -2.0, 3.0]), 0.0
  for g in gradients:
    g = g * min(1.0, 1.0 / np.linalg.norm(g)) + 0.02 * w
    buffer = 0.9 * buffer + g
    w = w - 0.1 * (g + 0.9 * buffer)
  np.testing.assert_allclose(params['weights'], w, rtol=1e-5)


def test_adam_s_decay_enters_the_moments(gradients, start):
  params, _ = run(make(), 'alphas', gradients, start)
  a, m, v = np.array([0.1, 0.2, 0.3]), 0.0, 0.0
  for n, g in enumerate(gradients, start=1):
    g = g + 0.03 * a
    m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g * g
    step = (m / (1 - 0.5**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
    a = a - 0.01 * step
  np.testing.assert_allclose(params['alphas'], a, rtol=1e-5)


@pytest.mark.parametrize(
  'group, other', [('weights', 'alphas'), ('alphas', 'weights')]
)
def test_the_other_group_stays_bit_for_bit(group, other, gradients, start):
  tx = make()
  # Give the other group momentum first, which a zero gradient would spend.
  params, opt = start, tx.init(start)
  params, opt = optimizers.update(tx, other, gradients[0], opt, params)
  moved, after = optimizers.update(tx, group, gradients[1], opt, params)
  np.testing.assert_array_equal(moved[other], params[other])
  before = str(opt.inner_states[other])
  assert str(after.inner_states[other]) == before
  assert not np.array_equal(moved[group], params[group])


@pytest.mark.parametrize('limit', [0.5, 50.0])
def test_clipping_and_its_derivative_are_optax_s(limit):
  rng = np.random.default_rng(0)
  shapes = (3, 2), (4,), ()
  grads, weights = (
    [jnp.asarray(rng.standard_normal(s), jnp.float32) for s in shapes]
    for _ in range(2)
  )

  def slope(clip, grads):
    clipped, _ = clip.update(grads, clip.init(grads))
    pairs = zip(weights, clipped, strict=True)
    return sum(jnp.vdot(w, jnp.sin(g)) for w, g in pairs)

  own, theirs = (
    jax.value_and_grad(functools.partial(slope, clip))(grads)
    for clip in (
      optimizers.clip_by_global_norm(limit),
      optax.clip_by_global_norm(limit),
    )
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    own,
    theirs,
  )


def rates(schedule, steps, epochs):
  return [float(schedule(steps * epoch + 1)) for epoch in range(epochs)]


def test_the_linear_schedule_is_p_darts_s():
  schedule = optimizers.linear(0.5, 0.0, epochs=250, steps=3)
  found = rates(optimizers.warm(schedule, 5, steps=3), 3, 250)
  # Its code, by hand: 245 epochs down, the last step in five parts, and a
  # fifth, two fifths ... of that at first.
  assert found[:2] == pytest.approx([0.1, 0.2 * 244 / 245])
  assert found[4:6] == pytest.approx([0.5 * 241 / 245, 0.5 * 240 / 245])
  assert found[244:] == pytest.approx(
    [0.5 / 245, *(0.5 * n / 245 / 5 for n in (5, 4, 3, 2, 1))]
  )
  assert float(schedule(3 * 100)) == float(schedule(3 * 100 + 2))


def test_a_short_linear_schedule_stays_finite_and_falls():
  found = rates(optimizers.linear(0.5, 0.1, epochs=3, steps=2), 2, 3)
  assert found == sorted(found, reverse=True)
  assert 0.1 < found[-1] and found[0] <= 0.5


def test_without_warmup_a_schedule_stays_itself():
  schedule = optimizers.cosine(0.1, 0.0, epochs=4, steps=1)
  assert optimizers.warm(schedule, 0, steps=1) is schedule

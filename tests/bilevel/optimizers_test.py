"""The optimisers against the formulas of PyTorch's, in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax.bilevel import optimizers


def run(make, group, gradients, params):
  """An update a gradient, by the transformation `make` gives for its number."""
  opt = make(0).init(params)
  for n, g in enumerate(gradients):
    params, opt = optimizers.update(make(n), group, jnp.asarray(g), opt, params)
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


def make(step=0, clip=0.0):
  """Both groups' at a step, of which an epoch has two."""
  lr = optimizers.cosine(0.1, 0.01, epoch=step // 2, epochs=3)
  return optimizers.split(
    optimizers.sgd(lr, momentum=0.9, decay=0.02, clip=1.0),
    optimizers.adam(0.01, 0.5, 0.999, decay=0.03, clip=clip),
  )


def test_sgd_clips_then_decays_then_has_momentum(gradients, start):
  params, _ = run(make, 'weights', gradients, start)
  w, buffer = np.array([1.0, -2.0, 3.0]), 0.0
  for n, g in enumerate(gradients):
    g = g * min(1.0, 1.0 / np.linalg.norm(g)) + 0.02 * w
    buffer = 0.9 * buffer + g
    lr = 0.01 + 0.5 * 0.09 * (1 + np.cos(np.pi * (n // 2) / 3))
    w = w - lr * buffer
  np.testing.assert_allclose(params['weights'], w, rtol=1e-5)


def test_nesterov_s_momentum_is_pytorch_s(gradients, start):
  sgd = optimizers.sgd(0.1, momentum=0.9, decay=0.02, clip=1.0, nesterov=True)
  tx = optimizers.split(sgd, optimizers.adam(0.01, 0.5, 0.999, 0.03))
  params, _ = run(lambda n: tx, 'weights', gradients, start)
  w, buffer = np.array([1.0, -2.0, 3.0]), 0.0
  for g in gradients:
    g = g * min(1.0, 1.0 / np.linalg.norm(g)) + 0.02 * w
    buffer = 0.9 * buffer + g
    w = w - 0.1 * (g + 0.9 * buffer)
  np.testing.assert_allclose(params['weights'], w, rtol=1e-5)


@pytest.mark.parametrize('clip', [0.0, 0.7])
def test_adam_s_decay_enters_the_moments_and_0_clips_nothing(
  gradients, start, clip
):
  own = functools.partial(make, clip=clip)
  params, _ = run(own, 'alphas', gradients, start)
  a, m, v = np.array([0.1, 0.2, 0.3]), 0.0, 0.0
  for n, g in enumerate(gradients, start=1):
    g = g * min(1.0, clip / np.linalg.norm(g)) if clip else g
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


def test_a_search_s_numbers_reach_their_groups(gradients, start):
  """By the config's names, and traced, as a compiled step has them."""
  rates = {
    **{'weights.momentum': 0.9, 'weights.decay': 0.02, 'weights.clip': 1.0},
    **{'alphas.lr': 0.01, 'alphas.b1': 0.5, 'alphas.b2': 0.999},
    **{'alphas.decay': 0.03, 'alphas.clip': 0.7},
  }
  opt, g = make().init(start), jnp.asarray(gradients[0])

  @functools.partial(jax.jit, static_argnums=0)
  def moved(group, rates):
    tx = optimizers.both(rates, 0.1, nesterov=False)
    return optimizers.update(tx, group, g, opt, start)[0][group]

  tx = make(clip=0.7)
  for group in ('weights', 'alphas'):
    by_hand, _ = optimizers.update(tx, group, g, opt, start)
    np.testing.assert_allclose(moved(group, rates), by_hand[group], rtol=1e-5)
    others = {name: 0.5 * value for name, value in rates.items()}
    assert not np.allclose(moved(group, others), by_hand[group], rtol=1e-3)
  assert moved._cache_size() == 2  # one a group


def epochs(schedule, count, warmup=0, **numbers):
  """The rate of each epoch."""
  return [
    float(
      optimizers.warm(schedule(epoch=n, epochs=count, **numbers), n, warmup)
    )
    for n in range(count)
  ]


def test_the_linear_schedule_is_p_darts_s():
  found = epochs(optimizers.linear, 250, warmup=5, lr=0.5, lr_min=0.0)
  # Its code, by hand: 245 epochs down, the last step in five parts, and a
  # fifth, two fifths ... of that at first.
  assert found[:2] == pytest.approx([0.1, 0.2 * 244 / 245])
  assert found[4:6] == pytest.approx([0.5 * 241 / 245, 0.5 * 240 / 245])
  assert found[244:] == pytest.approx(
    [0.5 / 245, *(0.5 * n / 245 / 5 for n in (5, 4, 3, 2, 1))]
  )


def test_a_short_linear_schedule_stays_finite_and_falls():
  found = epochs(optimizers.linear, 3, lr=0.5, lr_min=0.1)
  assert found == sorted(found, reverse=True)
  assert 0.1 < found[-1] and found[0] <= 0.5


def test_without_warmup_a_schedule_stays_itself():
  found = epochs(optimizers.cosine, 4, lr=0.1, lr_min=0.0)
  assert found[0] == pytest.approx(0.1)
  assert found[2] == pytest.approx(0.05)


def test_the_early_cosine_is_a_pytorch_schedule_stepped_before_its_epoch():
  early = epochs(optimizers.early_cosine, 4, lr=0.1, lr_min=0.01)
  usual = epochs(optimizers.cosine, 4, lr=0.1, lr_min=0.01)
  assert early == pytest.approx([*usual[1:], 0.01])


def test_lazy_adam_is_adam_of_the_steps_with_a_gradient(start):
  """Each row by itself; the decay too waits for a gradient."""
  rng = np.random.default_rng(0)
  gradients = rng.standard_normal((6, 4, 3)).astype(np.float32)
  due = rng.random((6, 4)) < 0.6
  due[:, 3] = False  # one never has any
  start = {**start, 'alphas': jnp.asarray(rng.standard_normal((4, 3)))}

  def both(alphas):
    sgd = optimizers.sgd(0.1, 0.9, 0.02, clip=1.0)
    return optimizers.split(sgd, alphas(0.01, 0.5, 0.999, decay=0.03))

  given = np.where(due[:, :, None], gradients, 0)
  lazy = optimizers.OPTIMIZERS['lazy_adam']
  params, opt = run(lambda n: both(lazy), 'alphas', given, start)
  count = optax.tree_utils.tree_get(opt, 'count')['alphas']
  np.testing.assert_array_equal(count[:, 0], due.sum(axis=0))
  for row, own in enumerate(due.T):
    alone = {**start, 'alphas': start['alphas'][row]}
    told = gradients[own, row]
    expected, _ = run(lambda n: both(optimizers.adam), 'alphas', told, alone)
    np.testing.assert_allclose(
      params['alphas'][row], expected['alphas'], rtol=1e-6
    )

"""The curvature and the gap of a supernet, against dense and plain sums."""

import dataclasses
import functools
import re

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.analysis import hessian
from sdnas_jax.analysis import landscape
from sdnas_jax.data import augment
from sdnas_jax.data import split
from sdnas_jax.kernels import build
from sdnas_jax.methods import arch as archs
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import sharpness
from sdnas_jax.steps import totals
from tests import toys

ALL = spaces.Space(name='all', primitives=SPACES['darts'].primitives, nodes=2)
SEED = np.uint32(5)
# Ours, and what it is compared with; the grouped one takes twice as long.
WAY, OTHER = (
  ('native', 'shifted') if build.available() else ('shifted', 'grouped')
)
forward = jax.jit(search.forward, static_argnums=0)


def probe(**change):
  fields = {
    'of': 'alphas',
    'protocol': 'probe',
    'batches': 2,
    'products': 32,
    'radius': 0.05,
    'climbs': 1,
    'decay': 0.0,
  }
  return sharpness.Probe(**{**fields, **change})


def view(state, valid, parts, how=None):
  return sharpness.View(state, SEED, valid, parts, how)


def double(space, layers, how):
  """A state and its setup in float64."""
  parts = toys.setup()
  net = toys.Net(space, toys.CLASSES, channels=2, layers=layers, depthwise=how)
  parts = dataclasses.replace(parts, net=net)
  mix = {k: jnp.zeros(space.shape) for k in space.kinds}
  shapes = sizing.shapes(net.clone(depthwise='grouped'), toys.IMAGE, mix)
  variables = sizing.variables(shapes, 0)
  rng = np.random.default_rng(0)
  arch = archs.Arch(
    {k: rng.standard_normal(space.shape) for k in space.kinds},
    {k: np.ones(space.shape, bool) for k in space.kinds},
  )
  state = search.init(parts, variables, arch, toys.RATES, 20, toys.CLASSES)
  wide = functools.partial(jnp.asarray, dtype=jnp.float64)
  params = jax.tree.map(wide, state.params)
  stats = jax.tree.map(wide, state.stats)
  return state._replace(params=params, stats=stats), parts


def batches(valid, parts, count):
  order = np.arange(count * parts.batch_size).reshape(count, -1)
  return [
    split.take(valid, jnp.asarray(n), parts.mean, parts.std) for n in order
  ]


@pytest.mark.parametrize(
  'of, space, layers', [('alphas', ALL, 2), ('weights', toys.SPACE, 1)]
)
def test_eigenvalues_are_those_of_the_differenced_gradient(
  of, space, layers, monkeypatch
):
  """Through the kernels, both pools and the normalisation.

  The other side has gradients without any kernel of ours, differenced.
  """
  normalize = augment.normalize
  monkeypatch.setattr(
    augment, 'normalize', lambda *at: normalize(*at).astype(float)
  )
  with jax.enable_x64(True):
    state, parts = double(space, layers, WAY)
    plain = parts.net.clone(depthwise=OTHER)
    _, valid = toys.halves()
    x, unravel = flatten_util.ravel_pytree(state.params[of])

    def one(x, batch):
      params = {**state.params, of: unravel(x)}
      mix = {k: jax.nn.softmax(a) for k, a in params['alphas'].items()}
      w = params['weights']
      logits, _ = search.forward(plain, w, state.stats, batch, mix)
      logp = jax.nn.log_softmax(logits)
      return -jnp.mean(jnp.take_along_axis(logp, batch.label[:, None], 1))

    # Each is compiled once, whatever the number of batches and differences.
    each = jax.jit(jax.value_and_grad(one))
    seen, h = batches(valid, parts, 2), 1e-6
    two = jax.tree.map(lambda *rows: jnp.stack(rows), *seen)

    def grad(x):
      grads = jax.lax.map(lambda batch: jax.grad(one)(x, batch), two)
      return jnp.mean(grads, axis=0)

    steps = h * jnp.eye(x.size)
    ahead, behind = jnp.split(
      jax.jit(functools.partial(jax.lax.map, grad))(
        jnp.concatenate([x[None] + steps, x[None] - steps])
      ),
      2,
    )
    dense = (ahead - behind) / (2 * h)
    values = np.linalg.eigvalsh(0.5 * np.asarray(dense + dense.T))
    scale, at = np.abs(values).max(), view(state, valid, parts, probe(of=of))
    if of == 'alphas':
      units = jnp.eye(x.size)
      matrix = jax.jit(sharpness.columns)(at, units)
      found = np.linalg.eigvalsh(matrix)
      np.testing.assert_allclose(found, values, atol=1e-5 * scale)
      return
    hard = {k: jnp.zeros(space.shape) for k in space.kinds}
    found = jax.jit(sharpness.measure)(at, hard)
    largest = pytest.approx(values[-1], abs=1e-5 * scale)
    assert float(found.dominant_eigenvalue) == largest
    # One climb goes to the sphere along each batch's gradient.
    rises = []
    for batch in seen:
      low, g = each(x, batch)
      high, _ = each(x + 0.05 * g / jnp.linalg.norm(g), batch)
      rises.append(float(high - low))
    assert float(found.sharpness) == pytest.approx(np.mean(rises), rel=1e-6)


def programs(state, valid, parts):
  """All of the module, with a step of the search for contrast: HLO texts."""
  at = view(state, valid, parts, probe(products=2))
  hard = {k: jnp.zeros(toys.SPACE.shape) for k in toys.SPACE.kinds}
  x, _ = flatten_util.ravel_pytree(at.at)
  axis = at.at, jnp.zeros(1)
  for f, operands in (
    (sharpness.measure, (at, hard)),
    (sharpness.columns, (at, jnp.eye(1, x.size))),
    (sharpness.density, (at, np.uint32(0))),
    (sharpness.plane, (at, axis, axis)),
    (search.validate, (state, valid, totals.zero(), 0, 1, parts)),
  ):
    yield f, jax.jit(f).lower(*operands).as_text(dialect='hlo')


def test_curvature_s_products_are_of_whole_numbers_on_any_device():
  """A GPU's default would round what is multiplied to ten bits."""
  parts, (_, valid) = toys.setup(layers=1), toys.halves()
  net = parts.net.clone(depthwise='grouped')
  parts = dataclasses.replace(parts, net=net)
  for f, text in programs(toys.state(parts), valid, parts):
    lines = [
      line
      for line in text.splitlines()
      if re.search(r' (dot|convolution)\(', line)
    ]
    exact = ['operand_precision={highest,highest}' in line for line in lines]
    assert len(lines) > 4
    assert all(exact) if f is not search.validate else not any(exact)


def test_the_product_is_symmetric_in_float32():
  parts, (_, valid) = toys.setup(), toys.halves()
  state = toys.state(parts)
  at = view(state, valid, parts, probe(of='weights'))
  x, unravel = flatten_util.ravel_pytree(state.params['weights'])
  batch = batches(valid, parts, 1)[0]
  rng = np.random.default_rng(0)
  u, v = (jnp.asarray(rng.standard_normal(x.size), x.dtype) for _ in range(2))

  @jax.jit
  def times(v):
    return hessian.product(lambda x: at.scores_at(batch, unravel(x))[0], x, v)

  left, right = float(u @ times(v)), float(v @ times(u))
  size = float(jnp.linalg.norm(u) * jnp.linalg.norm(times(v)))
  assert abs(left - right) < 1e-4 * size


def test_the_gap_is_the_lost_accuracy_counted_by_hand():
  parts, (_, valid) = toys.setup(), toys.halves()
  state = toys.state(parts)
  at = view(state, valid, parts, probe(products=4))
  mix = at.mix
  genotype = spaces.strongest(toys.SPACE, jax.device_get(mix))
  hard = spaces.hard(toys.SPACE, genotype)
  found = jax.jit(sharpness.measure)(at, hard)

  def right(mix):
    total = 0
    for first in range(0, 18, 8):
      rows = np.arange(first, min(first + 8, 18))
      batch = split.take(valid, jnp.asarray(rows), parts.mean, parts.std)
      w = state.params['weights']
      logits, _ = forward(parts.net, w, state.stats, batch, mix)
      total += int(np.sum(np.argmax(logits, 1) == np.asarray(batch.label)))
    return total / 18

  assert float(found.soft) == pytest.approx(right(mix))
  assert float(found.hard) == pytest.approx(right(hard))
  assert float(found.gap) == pytest.approx(right(mix) - right(hard))
  # A mix that is its genotype already loses nothing.
  same = jax.jit(sharpness.accuracy)(view(state, valid, parts), hard)
  assert float(same) == float(found.hard)


def test_a_density_has_the_moments_of_the_columns():
  """Ritz values and weights integrate 1, x and x^2 against their start."""
  parts, (_, valid) = toys.setup(), toys.halves()
  at = view(toys.state(parts), valid, parts, probe(products=5))
  values, shares = jax.jit(sharpness.density)(at, np.uint32(3))
  x, _ = flatten_util.ravel_pytree(at.state.params['alphas'])
  units = jnp.eye(x.size)
  matrix = np.asarray(jax.jit(sharpness.columns)(at, units))
  start = jax.random.fold_in(jax.random.key(SEED), 3)
  v = np.asarray(jax.random.normal(jax.random.split(start, 1)[0], x.shape))
  v = v / np.linalg.norm(v)
  power = v
  for k in range(3):
    size = float(np.abs(values).max()) ** k
    assert float(shares @ values**k) == pytest.approx(
      float(v @ power), abs=1e-4 * size
    )
    power = matrix @ power


@pytest.mark.parametrize('of', ['alphas', 'weights'])
def test_a_plane_is_the_loss_at_shifted_parameters(of):
  parts, (_, valid) = toys.setup(), toys.halves()
  state = toys.state(parts)
  steps, others = np.float32([0, 0.5]), np.float32([-0.5, 0])
  rng = np.random.default_rng(0)
  one, two = (landscape.even(rng, state.params[of]) for _ in range(2))
  at = view(state, valid, parts, probe(of=of))
  found = jax.jit(sharpness.plane)(at, (one, steps), (two, others))
  for i, s in enumerate(steps):
    for j, t in enumerate(others):
      moved = jax.tree.map(
        lambda x, d, e, s=s, t=t: x + s * d + t * e, state.params[of], one, two
      )
      params = {**state.params, of: moved}
      mix = {k: jax.nn.softmax(a) for k, a in params['alphas'].items()}
      loss, right = [], []
      for batch in batches(valid, parts, 2):
        w = params['weights']
        logits, _ = forward(parts.net, w, state.stats, batch, mix)
        logp = np.asarray(jax.nn.log_softmax(logits))
        loss += list(-logp[np.arange(len(logp)), batch.label])
        right += list(np.argmax(logp, axis=1) == batch.label)
      assert found['loss'][i, j] == pytest.approx(np.mean(loss), rel=1e-5)
      assert found['accuracy'][i, j] == pytest.approx(np.mean(right))


def test_robustdarts_looks_at_the_alphas_last_batch():
  parts, (_, valid) = toys.setup(), toys.halves()
  state = toys.state(parts)._replace(step=jnp.int32(7))
  kept = {'protocol': 'robustdarts', 'products': 4}
  found = view(state, valid, parts, probe(**kept)).batches()
  last = search.alpha_batch(jax.random.key(SEED), 6, valid, parts)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), found, last)
  assert found.image.shape == (1, 8, *toys.IMAGE)
  measure = jax.jit(sharpness.measure)
  hard = {k: jnp.zeros(toys.SPACE.shape) for k in toys.SPACE.kinds}
  # The alphas' decay is added to the curvature.
  values = [
    measure(view(state, valid, parts, probe(**kept, decay=decay)), hard)
    for decay in (0.0, 0.5)
  ]
  more, less = (float(v.dominant_eigenvalue) for v in values[::-1])
  assert more - less == pytest.approx(0.5, rel=1e-5)


def test_a_genotype_s_hard_mix_gives_it_back():
  space = SPACES['darts']
  rng = np.random.default_rng(0)
  mix = {kind: rng.random(space.shape) for kind in space.kinds}
  genotype = spaces.strongest(space, mix)
  hard = spaces.hard(space, genotype)
  assert all(h.sum() == 8 and h.max() == 1 for h in hard.values())
  back = spaces.strongest(space, hard)
  for kind in space.kinds:
    nodes = (g.graphs[kind].nodes for g in (genotype, back))
    for one, other in zip(*nodes, strict=True):
      assert set(one) == set(other)

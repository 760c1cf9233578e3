"""The training of a derived network, step by step, against plain arithmetic."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import parallel
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import split
from sdnas_jax.networks import derived
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import evaluate
from sdnas_jax.steps import totals

NODES = {2: [('sep_conv_3x3', 0), ('max_pool_3x3', 1)]}
GENOTYPE = spaces.Genotype.of(
  SPACES['darts'], {'normal': NODES, 'reduce': NODES}
)
IMAGE, CLASSES = (8, 8, 2), 6
RATES = {'momentum': 0.9, 'decay': 3e-4, 'clip': 5.0}


def setup(**change):
  fields = {
    'net': derived.Derived(
      GENOTYPE, CLASSES, channels=2, layers=1, auxiliary=False
    ),
    'schedule': optimizers.cosine,
    'nesterov': False,
    'rates': {'lr': 0.1, 'lr_min': 0.1, 'warmup': 0, **RATES},
    'augment': augment.Augment(pad=1, flip=True, cutout=2),
    'mean': (0.5, 0.4),
    'std': (0.2, 0.3),
    'batch_size': 8,
    'epochs': 4,
    'auxiliary': 0.4,
    'smoothing': 0.0,
    'drop_path': 0.0,
  }
  return evaluate.Setup(**{**fields, **change})


def images(examples=20, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.integers(0, 256, (examples, *IMAGE), np.uint8)
  return parallel.replicate(
    split.Split(x, rng.integers(0, CLASSES, examples).astype(np.int32))
  )


def state(parts):
  variables = sizing.variables(sizing.shapes(parts.net, IMAGE), seed=0)
  return parallel.replicate(evaluate.init(parts, variables))


def batch(logits, label, present=None):
  rows = len(label)
  present = jnp.ones(rows, bool) if present is None else jnp.asarray(present)
  index = jnp.arange(rows)
  return split.Batch(jnp.zeros((rows, 1)), jnp.asarray(label), index, present)


def test_label_smoothing_by_hand():
  # exp(logits) is 1, 2, 1: the logarithms of the probabilities are -2 ln 2 and
  # -ln 2. With 0.3 smoothed, the label 1 gets 0.7 + 0.1, the others 0.1 each.
  logits = jnp.log(jnp.array([[1.0, 2.0, 1.0]]))
  one = batch(logits, [1])
  plain = totals.cross_entropy(logits, one)
  smooth = totals.cross_entropy(logits, one, 0.3)
  np.testing.assert_allclose(plain, math.log(2), rtol=1e-6)
  np.testing.assert_allclose(smooth, 1.2 * math.log(2), rtol=1e-6)


def test_padding_has_no_loss():
  rng = np.random.default_rng(0)
  logits = jnp.asarray(rng.standard_normal((4, 3)), jnp.float32)
  all_rows = totals.cross_entropy(logits[:3], batch(logits[:3], [0, 1, 2]))
  padded = batch(logits, [0, 1, 2, 0], [True, True, True, False])
  np.testing.assert_allclose(
    totals.cross_entropy(logits, padded), all_rows, rtol=1e-6
  )


def test_first_and_fifth_places_by_hand():
  logits = jnp.array(
    [
      [9.0, 1, 2, 3, 4, 5],  # label 0: first
      [9.0, 1, 2, 3, 4, 5],  # label 2: fifth, of 9 5 4 3 2
      [9.0, 1, 2, 3, 4, 5],  # label 1: sixth
      [7.0, 7, 7, 7, 7, 7],  # all alike: last
      [jnp.nan, 1, 2, 3, 4, 5],  # no number
      [9.0, 1, 2, 3, 4, 5],  # padding
    ]
  )
  rows = batch(logits, [0, 2, 1, 3, 0, 0], [True] * 5 + [False])
  sums = totals.count(totals.zero(), logits, rows, jnp.float32(2.0), 7)
  found = sums.rows, sums.loss, sums.top1, sums.top5
  assert [float(x) for x in found] == [5, 10, 1, 2]
  assert int(sums.diverged) == totals.NEVER
  sums = totals.count(sums, logits, rows, jnp.float32(jnp.nan), 7)
  assert int(sums.diverged) == 7


def test_sums_of_millions_of_rows_are_exact():
  """Where a float32 sum of them no longer grows as it should."""
  count = 1000
  batch = split.Batch(
    None, jnp.zeros(count, jnp.int32), jnp.arange(count), jnp.ones(count, bool)
  )
  logits, loss = jnp.zeros((count, 2)), jnp.float32(0.1)

  @jax.jit
  def run(sums):
    def body(n, sums):
      return totals.count(sums, logits, batch, loss, n, loss)

    return jax.lax.fori_loop(0, 30_000, body, sums)

  found = totals.averages(run(totals.zero()))
  assert found['loss'] == pytest.approx(0.1, rel=2e-8)
  assert found['distill'] == pytest.approx(0.1, rel=2e-8)
  assert found['top5'] == 1  # 30 million, of which float32 knows 16


def test_a_step_is_sgd_on_the_weighted_sum_of_both_losses():
  net = derived.Derived(GENOTYPE, CLASSES, channels=2, layers=1)
  plain = augment.Augment(pad=0, flip=False)
  parts = setup(net=net, smoothing=0.1, augment=plain)
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (4, 32, 32, 2), np.uint8)
  x = (pixels / 255 - parts.mean) / parts.std
  variables = sizing.variables(sizing.shapes(net, (32, 32, 2)), seed=0)
  rows = batch(None, [0, 1, 2, 3])._replace(image=jnp.asarray(pixels))
  before = evaluate.init(parts, variables)
  after = jax.jit(evaluate.step)(before, jax.random.key(0), rows, parts)

  def loss(weights):
    both, _ = net.apply(
      {**variables, 'params': weights},
      jnp.float32(x),
      train=True,
      mutable=['batch_stats'],
    )
    target = 0.9 * np.eye(CLASSES)[:4] + 0.1 / CLASSES
    logp = [jax.nn.log_softmax(z) for z in both]
    main, side = (-jnp.mean(jnp.sum(target * z, axis=1)) for z in logp)
    return main + 0.4 * side

  grads = jax.jit(jax.grad(loss))(variables['params'])
  size = optax.tree.norm(grads)

  def moved(w, g):
    return w - 0.1 * (g * jnp.minimum(1, 5.0 / size) + 3e-4 * w)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    after.weights,
    jax.tree.map(moved, variables['params'], grads),
  )
  assert int(after.step) == 1 and float(after.sums.rows) == 4


@pytest.mark.parametrize('epoch, same', [(0, True), (2, False)])
def test_drop_path_grows_with_the_epochs(epoch, same):
  data = images()
  rows = split.gather(data, jnp.arange(8))
  weights = []
  for drop in (0.0, 0.9):
    parts = setup(drop_path=drop)
    begun = state(parts)._replace(epoch=jnp.int32(epoch))
    done = jax.jit(evaluate.step)(begun, jax.random.key(3), rows, parts)
    weights.append(
      jnp.concatenate(jax.tree.leaves(jax.tree.map(jnp.ravel, done.weights)))
    )
  assert bool(jnp.all(weights[0] == weights[1])) == same


def test_advance_and_validate_visit_every_image_once():
  parts, data = setup(), images()
  key = jax.random.key(0)
  done = jax.jit(evaluate.advance)(state(parts), key, data, 3, parts)
  assert (int(done.step), float(done.sums.rows)) == (3, 20)
  whole = jax.jit(evaluate.validate)
  sums = whole(done, data, totals.zero(), 0, 3, parts)
  parted = whole(done, data, totals.zero(), 0, 1, parts)
  parted = whole(done, data, parted, 1, 3, parts)
  jax.tree.map(np.testing.assert_array_equal, sums, parted)

  variables = {'params': done.weights, 'batch_stats': done.stats}
  x = augment.normalize(data.images, parts.mean, parts.std)
  logits = np.asarray(parts.net.apply(variables, x))
  order = np.argsort(-logits, axis=1)
  label = np.asarray(data.labels)[:, None]
  found = totals.averages(sums)
  assert found['top1'] == pytest.approx(np.mean(order[:, :1] == label))
  top5 = np.mean((order[:, :5] == label).any(1))
  assert found['top5'] == pytest.approx(top5)
  logp = jax.nn.log_softmax(logits)
  expected = -np.mean(np.take_along_axis(logp, label, axis=1))
  assert found['loss'] == pytest.approx(float(expected), rel=1e-4)

"""The derived network's size against published and hand-counted figures."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import derived
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces

CIFAR, IMAGENET = (32, 32, 3), (224, 224, 3)


def network(name, classes=10, imagenet=False, channels=None):
  channels = channels or (48 if imagenet else 36)
  return derived.Derived(
    published.CELLS[name].genotype,
    classes,
    channels,
    layers=14 if imagenet else 20,
    imagenet=imagenet,
    depthwise='grouped',
  )


@functools.cache
def sizes(name, classes=10, imagenet=False, channels=None):
  """Parameters of the network, and of its auxiliary head."""
  net = network(name, classes, imagenet, channels)
  shapes = sizing.shapes(net, IMAGENET if imagenet else CIFAR)
  parts = {
    part: sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
    for part, tree in shapes['params'].items()
  }
  head = parts.pop('auxiliary')
  return sum(parts.values()), head


@pytest.mark.parametrize(
  'name, size',
  [
    ('DARTS_V1', 3169414),
    ('DARTS_V2', 3349342),
    ('PDARTS', 3433798),
    ('PC_DARTS_cifar', 3634678),
    ('GDAS_V1', 3368782),
    ('SDARTS_RS', 3606166),
    ('SDARTS_ADV', 3344806),
    ('SGAS_CRI1', 3795166),
    ('SGAS_CRI2', 4094110),
    ('DARTS_MINUS', 3454318),
    ('DARTS_PT', 3328174),
    ('SNAS_mild', 2661382),
    ('NASNet', 3830950),
    ('AmoebaNet', 3145078),
  ],
)
def test_parameters_on_cifar(name, size):
  wide = 144 * len(published.CELLS[name].genotype.reduce_concat)
  head = 128 * wide + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 768 * 10 + 10
  assert sizes(name) == (size, head)


def test_the_auxiliary_head_on_cifar():
  assert sizes('DARTS_V2')[1] == 476426


@pytest.mark.parametrize(
  'name, classes, imagenet, channels, size',
  [
    ('DARTS_V2', 100, False, None, 3401272),
    ('DARTS_V2', 1000, True, None, 4718752),
    ('PC_DARTS_image', 1000, True, None, 5342464),
    ('GDAS_V1', 1000, True, 50, 5345075),
    ('AmoebaNet', 1000, True, None, 4627360),
  ],
)
def test_parameters_elsewhere(name, classes, imagenet, channels, size):
  assert sizes(name, classes, imagenet, channels)[0] == size


def test_the_auxiliary_head_on_imagenet():
  assert sizes('DARTS_V2', 1000, True)[1] == 1260776


@pytest.mark.parametrize(
  'name, imagenet, millions',
  [('DARTS_V2', False, 528.4), ('DARTS_V2', True, 529.9)],
)
def test_multiply_adds(name, imagenet, millions):
  net = network(name, 1000 if imagenet else 10, imagenet)
  macs = sizing.macs(net, IMAGENET if imagenet else CIFAR)
  assert round(macs / 1e6, 1) == millions


def test_drop_path_keeps_the_expectation_and_drops_whole_images():
  x = jnp.ones((1, 20_000, 2, 2, 3))
  y = np.asarray(derived.drop_path(jax.random.key(0), x, 0.3))
  each = y.reshape(20_000, -1)
  assert set(np.unique(each)) == {0.0, np.float32(1 / 0.7)}
  assert (each.min(1) == each.max(1)).all()
  error = math.sqrt(0.3 / 0.7 / 20_000)  # standard, of the mean
  assert abs(each.mean() - 1) < 4 * error


def tiny(pairs, **fields):
  outputs = tuple(range(2, 2 + len(pairs) // 2))
  genotype = spaces.Genotype('darts', pairs, outputs, pairs, outputs)
  return derived.Derived(
    genotype, classes=3, channels=4, auxiliary=False, **fields
  )


def logits(net, train, drop):
  images = np.random.default_rng(0).random((6, 8, 8, 3), np.float32)
  variables = sizing.variables(sizing.shapes(net, (8, 8, 3)), seed=0)
  call = functools.partial(net.apply, variables, images, train, drop=drop)
  keys = jax.random.split(jax.random.key(1))
  if not train:
    return [call(key=key) for key in keys]
  return [call(key=key, mutable=['batch_stats'])[0][0] for key in keys]


def test_paths_are_dropped_in_training_only():
  net = tiny((('sep_conv_3x3', 0), ('max_pool_3x3', 1)), layers=1)
  one, two = logits(net, True, 0.5)
  assert np.abs(one - two).max() > 1e-3
  one, two = logits(net, False, 0.5)
  np.testing.assert_array_equal(one, two)


def test_an_identity_of_stride_one_is_never_dropped():
  # Without a reduction, as 1 // 3 and 2 // 3 are both the only layer's number.
  pairs = (('skip_connect', 0), ('skip_connect', 1))
  cell = derived.Cell(pairs, (2,), 4, False, False)
  rng = np.random.default_rng(0)
  x = rng.random((1, 6, 8, 8, 4), np.float32)
  ctx = derived.ops.Context(
    True, np.full((1, 6, 1, 1, 1), 1 / 6, np.float32), 'shifted'
  )
  key = jax.random.key(0)
  variables = cell.init(key, x, x, ctx, key, 0.9)
  outs = [
    cell.apply(variables, x, x, ctx, key, drop, mutable=['batch_stats'])[0]
    for drop in (0.0, 0.9)
  ]
  np.testing.assert_array_equal(*outs)

"""The supernet's published sizes, and that it is the paper's formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import choice
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from tests import toys

DARTS = SPACES['darts']
MIX = {k: jax.ShapeDtypeStruct(DARTS.shape, jnp.float32) for k in DARTS.kinds}


@pytest.mark.parametrize('classes, size', [(10, 1930618), (100, 1953748)])
def test_supernet_has_the_published_size(classes, size):
  net = supernet.Supernet(DARTS, classes)
  params = sizing.shapes(net, (32, 32, 3), MIX)['params']
  assert sum(p.size for p in jax.tree.leaves(params)) == size


def test_supernet_of_five_cells_has_the_size_of_p_darts_first_stage():
  net = supernet.Supernet(DARTS, 10, layers=5)
  params = sizing.shapes(net, (32, 32, 3), MIX)['params']
  assert sum(p.size for p in jax.tree.leaves(params)) == 1275834


def test_multiply_adds():
  net = supernet.Supernet(DARTS, 10, depthwise='grouped')
  assert round(sizing.macs(net, (32, 32, 3), MIX) / 1e6, 2) == 300.26


def test_first_values_are_distributed_as_init_s():
  net = supernet.Supernet(toys.SPACE, toys.CLASSES, channels=16, layers=2)
  mix = {k: jnp.zeros(toys.SPACE.shape) for k in toys.SPACE.kinds}
  shapes = sizing.shapes(net, toys.IMAGE, mix)
  ours = sizing.variables(shapes, seed=0)
  first = jax.jit(net.init)
  theirs = jax.device_get(
    first(jax.random.key(0), jnp.zeros((1, *toys.IMAGE)), mix)
  )
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)

  def alike(a, b):
    if np.ptp(b) == 0:
      np.testing.assert_array_equal(a, b)
      return
    for low, x in ((-1, a), (-1, b)):
      assert abs(np.max(np.abs(x)) / ops.bound(x.shape) - 1) < 0.25
      assert low * ops.bound(x.shape) <= np.min(x)
      assert abs(np.std(x) * np.sqrt(3) / ops.bound(x.shape) - 1) < 0.35

  jax.tree.map(alike, ours, theirs)
  other = sizing.variables(shapes, seed=1)
  assert not np.array_equal(
    jax.tree.leaves(ours['params'])[-1], jax.tree.leaves(other['params'])[-1]
  )


def test_the_order_of_the_primitives_is_free():
  names = ('skip_connect', 'dil_conv_3x3', 'none', 'sep_conv_3x3')
  x = jax.random.normal(jax.random.key(0), (1, 2, 6, 6, 4))
  mix = jnp.array([[0.1, 0.2, 0.3, 0.4]])
  ctx = ops.Context(True, jnp.full((1, 2, 1, 1, 1), 0.5), 'grouped')
  one = ops.MixedOp(names, 4, stride=1)
  other = ops.MixedOp(names[::-1], 4, stride=1)
  variables = one.init(jax.random.key(1), x, mix, ctx)
  np.testing.assert_array_equal(
    one.apply(variables, x, mix, ctx, mutable=['batch_stats'])[0],
    other.apply(variables, x, mix[:, ::-1], ctx, mutable=['batch_stats'])[0],
  )


def test_padding_changes_no_logit():
  parts = toys.setup(layers=3)
  first = toys.state(parts)
  images = jax.random.normal(jax.random.key(0), (4, *toys.IMAGE))
  mix = jax.tree.map(jax.nn.softmax, first.params['alphas'])
  variables = {'params': first.params['weights'], 'batch_stats': first.stats}

  @jax.jit
  def logits(images, present):
    return parts.net.apply(
      variables, images, mix, True, present, mutable=['batch_stats']
    )

  padded = jnp.concatenate([images, 9 * images[:2]])
  got, stats = logits(padded, jnp.arange(6) < 4)
  expected, expected_stats = logits(images, None)
  np.testing.assert_allclose(got[:4], expected, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    stats,
    expected_stats,
  )


def gradient(rng, layers=2, **change):
  """Logits and a gradient of a small supernet."""
  net = supernet.Supernet(toys.SPACE, 3, channels=4, layers=layers, **change)
  mix = {
    k: jnp.asarray(rng.random(toys.SPACE.shape), jnp.float32)
    for k in toys.SPACE.kinds
  }
  shapes = sizing.shapes(net, (8, 8, 3), mix)
  variables = sizing.variables(shapes, seed=0)
  images = jnp.asarray(rng.standard_normal((6, 8, 8, 3)), jnp.float32)

  def loss(params, mix):
    variables['params'] = params
    logits, stats = net.apply(
      variables, images, mix, train=True, mutable=['batch_stats']
    )
    return jnp.sum(jnp.sin(logits[:, 0])), (logits, stats)

  grad = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
  return grad(variables['params'], mix)


def test_recomputed_cells_change_nothing():
  plain, again = (
    gradient(np.random.default_rng(0), remat=remat) for remat in (False, True)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    plain,
    again,
  )


@pytest.mark.parametrize('how', ['grouped', choice.best(True)])
def test_bfloat16_stays_close_and_its_statistics_are_float32(how):
  (ours, (logits, stats)), (theirs, (expected, _)) = (
    gradient(np.random.default_rng(0), 1, bf16=bf16, depthwise=how)
    for bf16 in (True, False)
  )
  assert logits.dtype == jnp.float32
  for leaf in jax.tree.leaves((ours, stats)):
    assert leaf.dtype == jnp.float32
  # bfloat16 has 8 bits: a relative error of 0.4 % an operation.
  assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
  a, b = (grads[1]['reduce'].ravel() for grads in (ours, theirs))
  assert a @ b > 0.98 * jnp.linalg.norm(a) * jnp.linalg.norm(b) > 0

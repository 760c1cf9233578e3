"""Operations of weight zero: as if each mixed operation had never had them."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import pool
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import ops
from sdnas_jax.spaces import SPACES
from tests import plain

NAMES = SPACES['darts'].primitives
EDGES, BATCH, CHANNELS = 3, 3, 4
# What is alive on each edge; the largest pool and two convolutions on none.
ALIVE = (
  {'sep_conv_3x3', 'dil_conv_5x5', 'avg_pool_3x3'},
  {'skip_connect'},
  set(),
)
CELL = SPACES['nasbench201']
CELL_ALIVE = (
  {'nor_conv_3x3', 'avg_pool_3x3'},
  {'nor_conv_1x1', 'skip_connect'},
  set(),
)
STRIDES = {n: ops.MixedOp(NAMES, CHANNELS, n) for n in (1, 2)}


def context(backend):
  return ops.Context(True, jnp.full((1, BATCH, 1, 1, 1), 1 / BATCH), backend)


def case(op, names, alive, dtype):
  """Variables, input and mix, of random numbers."""
  rng = np.random.default_rng(0)
  mix = np.zeros((EDGES, len(names)))
  for edge, members in enumerate(alive):
    for name in members:
      mix[edge, names.index(name)] = 0.2 + rng.random()
  x = rng.standard_normal((1, BATCH, 6, 5, CHANNELS))
  x, mix = jnp.asarray(x, dtype), jnp.asarray(mix, dtype)
  init = functools.partial(op.init, ctx=context('grouped'))
  shapes = jax.eval_shape(init, jax.random.key(0), x, mix)
  variables = jax.tree.map(
    lambda s: jnp.asarray(0.5 + rng.random(s.shape), dtype), shapes
  )
  return variables['params'], variables['batch_stats'], x, mix


def orders(f, params, x, mix, second=True):
  """The value, and its derivatives of both orders, or of the first."""

  def loss(*at):
    return jnp.sum(jnp.sin(f(*at)))

  first = jax.grad(loss, (0, 1, 2))

  def curved(*at):
    return sum(jnp.sum(jnp.cos(g)) for g in jax.tree.leaves(first(*at)))

  def all_of(*at):
    known = f(*at), first(*at)
    return (*known, jax.grad(curved, (0, 1, 2))(*at)) if second else known

  return jax.jit(all_of)(params, x, mix)


def close(a, b, tolerance):
  jax.tree.map(
    functools.partial(
      np.testing.assert_allclose, rtol=tolerance, atol=tolerance
    ),
    a,
    b,
  )


def applied(op, backend, stats, params, x, mix):
  """What the module returns, and its running statistics afterwards."""
  given = {'params': params, 'batch_stats': stats}
  y, after = op.apply(given, x, mix, context(backend), mutable=['batch_stats'])
  return y, after['batch_stats']


@functools.cache
def reference(stride):
  """In float64, of the plain sum."""
  params, _, x, mix = case(STRIDES[stride], NAMES, ALIVE, 'float64')

  def f(params, x, mix):
    return plain.mixed(params, ALIVE, x, mix, stride)

  return orders(f, params, x, mix)


def poisoned(params, slopes):
  """The parameters with NaN where the plain sum's derivative is zero."""
  return jax.tree.map(
    lambda x, slope: jnp.where(np.asarray(slope) != 0, x, jnp.nan),
    params,
    slopes,
  )


@pytest.mark.parametrize(
  'backend, stride, dtype, tolerance',
  [
    ('grouped', 2, 'float64', 1e-9),
    ('dense', 1, 'float64', 1e-9),
    ('shifted', 2, 'float64', 1e-9),
    ('space_to_batch', 1, 'float64', 1e-9),
    ('native', 1, 'float64', 1e-9),
    ('native', 2, 'float64', 1e-9),
    ('native', 1, 'float32', 2e-2),
  ],
)
def test_what_is_dead_might_as_well_not_be_there(
  backend, stride, dtype, tolerance
):
  """In the value, the gradients and their derivatives, in everything.

  Nothing is computed with dead weights, for they are not even numbers.
  """
  with jax.enable_x64(True):
    expected = reference(stride)
  with jax.enable_x64(dtype == 'float64'):
    op = STRIDES[stride]
    params, stats, x, mix = case(op, NAMES, ALIVE, dtype)
    params = poisoned(params, expected[1][0])
    assert jnp.isnan(params['first']['depthwise_5x5']).all()

    def f(*at):
      return applied(op, backend, stats, *at)[0]

    second = backend in ('grouped', 'native')  # the others mask as grouped
    got = orders(f, params, x, mix, second)
    close(got, expected[: len(got)], tolerance)
    for derivative in got[1:]:
      np.testing.assert_array_equal(derivative[2] == 0, mix == 0)


@pytest.mark.parametrize('stride', [1, 2])
def test_the_running_statistics_of_what_is_dead_rest(stride):
  op = STRIDES[stride]
  params, before, x, mix = case(op, NAMES, ALIVE, 'float32')
  for backend in ('grouped', 'native'):
    after = jax.jit(functools.partial(applied, op, backend))(
      before, params, x, mix
    )[1]

    def moved(*path, after=after):
      old, new = before, after
      for key in path:
        old, new = old[key], new[key]
      both = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
      return [np.any(a != b, (1, 2, 3, 4)).tolist() for a, b in both]

    # Rows are three edges of each size: 3x3, then 5x5.
    for path in (('first', 'Norm_0'), ('second', 'Norm_0')):
      assert moved(*path) == 2 * [[True, *5 * [False]]]
    assert moved('once', 'Norm_0') == 2 * [[*3 * [False], True, False, False]]
    assert moved('pools') == 2 * [[False, True]]  # the average's alone
    if stride == 2:
      assert moved('skip') == 2 * [[False, True, False]]


def test_a_weight_is_not_rounded_to_the_input_s_type():
  x = jnp.full((1, BATCH, 2, 2, CHANNELS), 3, jnp.bfloat16)
  mix = jnp.full((1, 1), 0.33203125 + 2**-10)  # three times that is 0.9990
  op = ops.MixedOp(('skip_connect',), CHANNELS, 1)
  y = op.apply({}, x, mix, context('grouped'))
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(y, jnp.asarray(3 * mix[0, 0], y.dtype))
  assert jnp.asarray(mix[0, 0], y.dtype) * y.dtype.type(3) != y.ravel()[0]


def dense(params, x, mix):
  """NAS-Bench-201's mixed operation, of what is alive alone."""
  total = []
  for edge in range(EDGES):
    here = jnp.zeros_like(x[0])
    for n, name in enumerate(CELL.primitives):
      if name not in CELL_ALIVE[edge]:
        continue
      if name == 'skip_connect':
        y = x[0]
      elif name == 'avg_pool_3x3':
        y = pool.mean(x, 1)[0]
      else:
        row = list(nasbench201.CONVOLUTIONS).index(name) * EDGES + edge
        y = lax.conv_general_dilated(
          jax.nn.relu(x[0]),
          params[name]['kernel'][edge],
          (1, 1),
          'SAME',
          dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
        mean, var = (
          f(y, (0, 1, 2), keepdims=True) for f in (jnp.mean, jnp.var)
        )
        scale, bias = (params['Norm_0'][k][row] for k in ('scale', 'bias'))
        y = scale * (y - mean) / jnp.sqrt(var + 1e-5) + bias
      here += mix[edge, n] * y
    total.append(here)
  return jnp.stack(total)


def test_nor_is_a_dense_convolution():
  with jax.enable_x64(True):
    op = nasbench201.MixedOp(CELL.primitives, affine=True)
    params, stats, x, mix = case(op, CELL.primitives, CELL_ALIVE, 'float64')
    expected = orders(dense, params, x, mix)
    params = poisoned(params, expected[1][0])
    for backend in ('grouped', 'native'):

      def f(*at, backend=backend):
        return applied(op, backend, stats, *at)[0]

      close(orders(f, params, x, mix), expected, 1e-9)
      _, after = applied(op, backend, stats, params, x, mix)
      for old, new in zip(*map(jax.tree.leaves, (stats, after)), strict=True):
        moved = np.any(old != new, (1, 2, 3, 4)).tolist()
        assert moved == [False, True, False, True, False, False]


@pytest.mark.parametrize('backend', ['grouped', 'native'])
@pytest.mark.parametrize('which', ['stride 1', 'stride 2', 'cell'])
def test_of_an_open_mix_gates_that_are_0_have_a_derivative(which, backend):
  """It is what their operation would add; and nothing else changes."""
  names, alive = (
    (CELL.primitives, CELL_ALIVE) if which == 'cell' else (NAMES, ALIVE)
  )
  op = {
    'stride 1': STRIDES[1],
    'stride 2': STRIDES[2],
    'cell': nasbench201.MixedOp(CELL.primitives, False),
  }[which]
  with jax.enable_x64(True):
    params, stats, x, mix = case(op, names, alive, 'float64')
    ctx = context(backend).dropping({'open': ()})

    @jax.jit
    def run(ctx, params, x, mix):
      given = {'params': params, 'batch_stats': stats}
      return op.apply(given, x, mix, ctx, mutable=['batch_stats'])[0]

    def back(ctx):
      y, pull = jax.vjp(functools.partial(run, ctx), params, x, mix)
      return y, *pull(jnp.cos(y))

    y, of_w, of_x, of_mix = back(ctx)
    plain_y, plain_w, plain_x, _ = back(context(backend))
    close((y, of_x), (plain_y, plain_x), 1e-12)
    jax.tree.map(functools.partial(close, tolerance=1e-12), of_w, plain_w)
    for o, column in enumerate(of_mix.T):
      each = jnp.broadcast_to(jax.nn.one_hot(o, len(names)), mix.shape)
      own = run(context(backend), params, x, each)
      told = jnp.sum(jnp.cos(y) * own, axis=(1, 2, 3, 4))
      close(column, told, 1e-9)
    assert np.any((mix == 0) & (of_mix != 0))

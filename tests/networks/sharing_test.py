"""The mixed operations of a source against one plain one for each edge."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import ops
from sdnas_jax.spaces import SPACES

PRIMITIVES = SPACES['darts'].primitives
EDGES, BATCH, SIZE, CHANNELS = 3, 4, (6, 5), 4


def conv(x, kernel, stride, dilation, groups):
  pad = dilation * (kernel.shape[0] - 1) // 2
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    ((pad, pad), (pad, pad)),
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def norm(x):
  mean, var = (f(x, (0, 1, 2), keepdims=True) for f in (jnp.mean, jnp.var))
  return (x - mean) / jnp.sqrt(var + 1e-5)


def separable(x, depthwise, pointwise, stride, dilation):
  y = conv(jax.nn.relu(x), depthwise[:, :, None], stride, dilation, CHANNELS)
  return norm(y @ pointwise)


def pool(x, start, add, stride):
  pad = ((0, 0), (1, 1), (1, 1), (0, 0))
  return lax.reduce_window(x, start, add, (1, 3, 3, 1), (1, stride, stride, 1),
                           pad)  # fmt: skip


def mixed(params, edge, x, mix, stride):
  """One edge, primitive by primitive, by the definition of each."""
  first, second, once = (params[k] for k in ('first', 'second', 'once'))
  own = [
    {k: v[edge] for k, v in block.items() if k != 'pointwise'}
    for block in (first, second, once)
  ]

  def twice(n, size):
    y = x
    for block, part, s in ((first, own[0], stride), (second, own[1], 1)):
      pointwise = block['pointwise'][n * EDGES + edge]
      y = separable(y, part[f'depthwise_{size}x{size}'], pointwise, s, 1)
    return y

  def dilated(n, size):
    kernel = own[2][f'depthwise_{size}x{size}_dilated']
    pointwise = once['pointwise'][n * EDGES + edge]
    return separable(x, kernel, pointwise, stride, 2)

  def skip():
    if stride == 1:
      return x
    halves = (params['skip'][f'Pointwise_{n}']['kernel'][edge] for n in (0, 1))
    y = jnp.pad(jax.nn.relu(x), ((0, 0), (0, 0), (0, 1), (0, 0)))
    even, odd = y[:, ::2, ::2], y[:, 1::2, 1::2]
    parts = (a @ kernel for a, kernel in zip((even, odd), halves, strict=True))
    return norm(jnp.concatenate(list(parts), axis=-1))

  ones = jnp.ones((1, *SIZE, 1))
  mean = pool(x, 0.0, lax.add, stride) / pool(ones, 0.0, lax.add, stride)
  outs = {
    'max_pool_3x3': norm(pool(x, -jnp.inf, lax.max, stride)),
    'avg_pool_3x3': norm(mean),
    'skip_connect': skip(),
    'sep_conv_3x3': twice(0, 3),
    'sep_conv_5x5': twice(1, 5),
    'dil_conv_3x3': dilated(0, 3),
    'dil_conv_5x5': dilated(1, 5),
  }
  return sum(mix[edge, PRIMITIVES.index(name)] * y for name, y in outs.items())


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('how', ['grouped', 'native', 'shifted'])
def test_values_and_gradients_are_the_plain_operation_s(how, stride):
  with jax.enable_x64(True):
    rng = np.random.default_rng(stride)
    x = jnp.asarray(rng.standard_normal((1, BATCH, *SIZE, CHANNELS)))
    mix = jnp.asarray(rng.random((EDGES, len(PRIMITIVES))))
    share = jnp.full((1, BATCH, 1, 1, 1), 1 / BATCH)
    ctx = ops.Context(True, share, how)
    op = ops.MixedOp(PRIMITIVES, CHANNELS, stride)
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: op.init(key, jnp.float32(x), mix, ctx))[
      'params'
    ]
    params = jax.tree.map(
      lambda s: jnp.asarray(rng.standard_normal(s.shape)), shapes
    )

    def ours(params, mix, x):
      variables = {'params': params}
      return op.apply(variables, x, mix, ctx, mutable=['batch_stats'])[0]

    def plain(params, mix, x):
      outs = [mixed(params, e, x[0], mix, stride) for e in range(EDGES)]
      return jnp.stack(outs)

    def both(f):
      def loss(*at):
        out = f(*at)
        return jnp.sum(jnp.sin(out)), out

      grad = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
      return jax.jit(grad)(params, mix, x)

    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8),
      both(ours),
      both(plain),
    )

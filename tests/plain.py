"""The mixed operation by the definition of each primitive, edge by edge."""

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.spaces import SPACES

NAMES = SPACES['darts'].primitives


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
  y = conv(jax.nn.relu(x), depthwise[:, :, None], stride, dilation, x.shape[-1])
  return norm(y @ pointwise)


def pool(x, start, add, stride):
  pad = ((0, 0), (1, 1), (1, 1), (0, 0))
  return lax.reduce_window(x, start, add, (1, 3, 3, 1), (1, stride, stride, 1),
                           pad)  # fmt: skip


def mixed(params, names, x, mix, stride):
  """sum_o p_o op_o(x) on each edge, over those of its `names` alone."""
  edges = zip(range(len(mix)), names, mix, strict=True)
  return jnp.stack([_edge(params, *own, x[0], stride) for own in edges])


def _edge(params, edge, names, p, x, stride):
  def twice(n, size):
    y = x
    for part, s in (('first', stride), ('second', 1)):
      y = separable(y, *kernels(part, n, f'depthwise_{size}x{size}'), s, 1)
    return y

  def dilated(n, size):
    own = kernels('once', n, f'depthwise_{size}x{size}_dilated')
    return separable(x, *own, stride, 2)

  def kernels(part, n, name):
    depthwise, pointwise = params[part][name], params[part]['pointwise']
    return depthwise[edge], pointwise[n * len(depthwise) + edge]

  def skip():
    if stride == 1:
      return x
    halves = (params['skip'][f'Pointwise_{n}']['kernel'][edge] for n in (0, 1))
    odd = [(0, n % 2) for n in x.shape[1:3]]
    y = jnp.pad(jax.nn.relu(x), ((0, 0), *odd, (0, 0)))
    even, odd = y[:, ::2, ::2], y[:, 1::2, 1::2]
    parts = (a @ kernel for a, kernel in zip((even, odd), halves, strict=True))
    return norm(jnp.concatenate(list(parts), axis=-1))

  def average():
    ones = jnp.ones((1, *x.shape[1:3], 1))
    return pool(x, 0.0, lax.add, stride) / pool(ones, 0.0, lax.add, stride)

  outs = {
    'max_pool_3x3': lambda: norm(pool(x, -jnp.inf, lax.max, stride)),
    'avg_pool_3x3': lambda: norm(average()),
    'skip_connect': skip,
    'sep_conv_3x3': lambda: twice(0, 3),
    'sep_conv_5x5': lambda: twice(1, 5),
    'dil_conv_3x3': lambda: dilated(0, 3),
    'dil_conv_5x5': lambda: dilated(1, 5),
  }
  size = [-(-n // stride) for n in x.shape[1:3]]
  total = jnp.zeros((len(x), *size, x.shape[-1]), x.dtype)
  for name in names:
    total += p[NAMES.index(name)] * outs[name]()
  return total

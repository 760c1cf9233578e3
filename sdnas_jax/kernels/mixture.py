"""Normalise and mix: total = bias + sum_o p_o (z_o - mean_o) / std_o.

A mixed operation's outputs are normalised and then summed with weights, so
neither they nor their gradients need exist apart: two sums over an output and
the gradient, for each channel, give what the derivative of both takes. A
weight for each channel is the scale of an affine normalisation.

Outputs, and gradients that reach them, may be in bfloat16; weights, statistics
and sums are float32 at least.

Every function takes `alive`, which says what need not be computed: where it is
false, p is zero, no derivative in p is wanted, and the foreign functions
neither read what p weighs nor the gradient there.
"""

import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.kernels import build

AXES = (1, 2, 3)  # batch and space


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def blend(
  p: jax.Array,
  bias: jax.Array | None,
  z: jax.Array,
  share: jax.Array,
  alive: jax.Array,
  epsilon: float,
  native: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The mixture, and each output's mean and variance.

  The mean and the variance are for the record: no derivative passes through
  them.

  Args:
    p: [stack, edges, 1 or channels] weights.
    bias: [edges, 1, 1, 1, channels], or None.
    z: [stack * edges, batch, height, width, channels], or [stack, ...] where
      all edges share them.
    share: [1, batch, 1, 1, 1] each pixel's share in the statistics.
    alive: [stack, edges] bool.
    epsilon: added to the variance.
    native: whether foreign functions take the sums.

  Returns:
    [edges, batch, height, width, channels], and twice [len(z), 1, 1, 1,
    channels].
  """
  return _forward(p, bias, z, share, alive, epsilon, native)[0]


def _spread(p):
  """[..., channels] with axes for the batch and space before the last."""
  return jnp.expand_dims(p, (-4, -3, -2))


def weight_gradient(p: jax.Array, slope: jax.Array) -> jax.Array:
  """The loss's derivative in p [stack, edges, 1 or channels].

  A weight that serves all channels sums their slopes.
  """
  slope = slope[:, :, 0, 0, 0]
  return jnp.sum(slope, axis=2, keepdims=True) if p.shape[2] == 1 else slope


def _stacked(x, p):
  """[stack, edges or 1, ...] from what is stacked on one axis."""
  return x.reshape(len(p), -1, *x.shape[1:])


def _forward(p, bias, z, share, alive, epsilon, native):
  some = alive.reshape(len(z), -1).any(axis=1)
  sums = moments(z, share, some, native)
  return mixed(p, bias, z, share, *sums, alive, epsilon, native)


def mixed(
  p: jax.Array,
  bias: jax.Array | None,
  z: jax.Array,
  share: jax.Array,
  mean: jax.Array,
  square: jax.Array,
  alive: jax.Array,
  epsilon: float,
  native: bool,
) -> tuple[tuple[jax.Array, ...], tuple[Any, ...]]:
  """What `blend` returns, from `moments`; and what its gradient needs."""
  var = jnp.maximum(square - mean * mean, 0.0)  # below 0 by rounding alone
  scale = lax.rsqrt(var + epsilon)
  mixed = mix(p, bias, z, mean, scale, alive, native)
  return (mixed, mean, var), (p, bias is None, z, share, mean, scale, alive)


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def mix(
  p: jax.Array,
  bias: jax.Array | None,
  z: jax.Array,
  mean: jax.Array,
  scale: jax.Array,
  alive: jax.Array,
  native: bool = False,
) -> jax.Array:
  """bias + sum_o p_o (z_o - mean_o) scale_o; shapes as in `blend`."""
  parts = [_stacked(x, p) for x in (z, mean, scale)]
  if native:
    channel = mean.shape[1:]
    a = jnp.broadcast_to(_spread(p) * parts[2], (*p.shape[:2], *channel))
    if bias is None:
      bias = jnp.zeros((p.shape[1], *channel), mean.dtype)
    given = (p.shape[1], *z.shape[1:]), z, a, mean, bias, alive
    shared = len(z) < alive.size
    return build.call('sums', 'mix', *given, whole=4, shared=shared)
  total = sum(
    _spread(p) * scale * (z - mean)
    for p, z, mean, scale in zip(p, *parts, strict=True)
  )
  return (total if bias is None else total + bias).astype(z.dtype)


def _mix_gradient(native, kept, g):
  p, bias, z, mean, scale, alive = kept
  sums = products(g, z, alive, native)
  slope = slopes(p, mean, scale, *sums)
  fixed = jnp.zeros((1, z.shape[1], 1, 1, 1), scale.dtype)  # they are given
  dz = _input_gradient(g, z, fixed, p, mean, scale, *sums, alive, native)
  shared = len(z) < len(p) * len(g)
  scale = _stacked(scale, p)

  def own(x):  # which several edges may share
    x = _sum(x, axis=1) if shared else x
    return x.reshape(-1, *x.shape[2:])

  return (
    weight_gradient(p, slope),
    None if bias is None else sums[0],
    dz,
    own(-_spread(p) * scale * sums[0][None]),
    own(_spread(p) * slope / scale),
    None,
  )


mix.defvjp(build.keep(mix), _mix_gradient)


def _backward(epsilon, native, kept, gradients):
  p, plain, z, share, mean, scale, alive = kept
  g = gradients[0]
  sums = products(g, z, alive, native)
  slope = slopes(p, mean, scale, *sums)
  dz = _input_gradient(g, z, share, p, mean, scale, *sums, alive, native)
  bias = None if plain else sums[0]
  return weight_gradient(p, slope), bias, dz, None, None


blend.defvjp(_forward, _backward)


def slopes(
  p: jax.Array,
  mean: jax.Array,
  scale: jax.Array,
  first: jax.Array,
  second: jax.Array,
) -> jax.Array:
  """The sum of g y for each normalised z: [stack, edges, 1, 1, 1, channels]."""
  mean, scale, second = (_stacked(x, p) for x in (mean, scale, second))
  return scale * (second - mean * first[None])


@functools.partial(jax.custom_vjp, nondiff_argnums=(9,))
def _input_gradient(g, z, share, p, mean, scale, first, second, alive, native):
  """The loss's derivative in the z of `blend`, from `products` of g and z."""
  operands = g, z, share, p, mean, scale, first, second
  if not native:
    return _composed(*operands, alive=alive, native=native)
  p = jnp.broadcast_to(p, (*p.shape[:2], z.shape[-1]))
  rest = [x.astype(build.real(z.dtype)) for x in (share, p, *operands[4:])]
  given = z.shape, g, z, *rest, alive
  shared = len(z) < len(second)
  return build.call('sums', 'mixture_input', *given, whole=6, shared=shared)


def _composed(g, z, share, p, mean, scale, first, second, alive, native):
  """The same as `plane`'s formula, whose derivatives are known."""
  abc = factors(p, mean, scale, first, second)
  return plane(g, z, share, *abc, alive, native)


def factors(
  p: jax.Array,
  mean: jax.Array,
  scale: jax.Array,
  first: jax.Array,
  second: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """a, b and c of `plane`, from `products` of g and z."""
  slope = slopes(p, mean, scale, first, second)
  mean, scale = _stacked(mean, p), _stacked(scale, p)
  a = _spread(p) * scale
  b, c = -a * first[None], -a * scale * slope
  if mean.shape[1] < len(first):  # edges share z
    b, c = (jnp.sum(x, axis=1, keepdims=True) for x in (b, c))
  return a, b - c * mean, c


@functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
def plane(
  g: jax.Array,
  z: jax.Array,
  share: jax.Array,
  a: jax.Array,
  b: jax.Array,
  c: jax.Array,
  alive: jax.Array,
  native: bool,
) -> jax.Array:
  """a g + share (b + c z), summed over the edges that share z.

  a [stack, edges, 1, 1, 1, channels]; b and c have an edge for each of z's.
  """
  pulled = a * g[None]
  pulled = _sum(pulled, axis=1) if c.shape[1] < len(g) else pulled
  dz = share[None] * (b + c * _stacked(z, a)) + pulled
  return dz.reshape(z.shape).astype(z.dtype)


def _plane_gradient(native, kept, v):
  g, z, share, a, _, c, alive = kept
  dg = sum(a * v for a, v in zip(a, _stacked(v, a), strict=True))
  dz = (share[None] * c * _stacked(v, a)).reshape(z.shape)
  dg, dz = dg.astype(g.dtype), dz.astype(z.dtype)
  _, da = products(g, v, alive, native)
  some = alive.reshape(1, len(z), -1).any(axis=2)
  db, dc = products((share * v).astype(v.dtype), z, some, native)
  return dg, dz, None, *(_stacked(x, a) for x in (da, db, dc)), None


def _input_backward(native, kept, v):
  *operands, alive = kept
  formula = functools.partial(_composed, alive=alive, native=native)
  return *jax.vjp(formula, *operands)[1](v), None


plane.defvjp(build.keep(plane), _plane_gradient)
_input_gradient.defvjp(build.keep(_input_gradient), _input_backward)


def _sum(x, axis):
  """An explicit sum, which XLA's CPU backend fuses; it reduces slowly."""
  parts = (lax.index_in_dim(x, n, axis) for n in range(x.shape[axis]))
  return functools.reduce(jnp.add, parts)


def weigh(
  p: jax.Array, x: jax.Array, alive: jax.Array, native: bool = False
) -> jax.Array:
  """p_e x for each edge: p [edges], x [1, batch, height, width, channels].

  The foreign functions' derivative in a p_e that is not alive [edges] is zero.
  """
  like = 1, 1, 1, 1, x.shape[-1]
  mean, scale = jnp.zeros(like, p.dtype), jnp.ones(like, p.dtype)
  return mix(p[None, :, None], None, x, mean, scale, alive[None], native)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def moments(
  z: jax.Array, share: jax.Array, alive: jax.Array, native: bool
) -> tuple[jax.Array, jax.Array]:
  """sum of share z, and of share z^2, for each edge and channel.

  A foreign function leaves zero where alive [edges] is false.
  """
  if not native:
    return (
      jnp.sum(z * share, AXES, keepdims=True),
      jnp.sum(z * z * share, AXES, keepdims=True),
    )
  shapes = [(len(z), 1, 1, 1, z.shape[-1])] * 2
  given = 'moments', None, z, share.astype(build.real(z.dtype)), alive
  return tuple(build.call('sums', *given, whole=1, totals=shapes))


def _moments_gradient(native, kept, c):
  z, share, _ = kept
  return (share * (c[0] + 2 * z * c[1])).astype(z.dtype), None, None


moments.defvjp(build.keep(moments), _moments_gradient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def products(
  g: jax.Array, z: jax.Array, alive: jax.Array, native: bool
) -> tuple[jax.Array, jax.Array]:
  """sum of g, and of g z for each of a stack of z, for each edge and channel.

  Args:
    g: [edges, batch, height, width, channels].
    z: [stack * edges, ...], or [stack, ...] where all edges share them.
    alive: [stack, edges] bool; a foreign function leaves zero where it is
      false, and for the sum of g where nothing on the edge is alive.
    native: whether a foreign function does it.

  Returns:
    [edges, 1, 1, 1, channels] and [stack * edges, 1, 1, 1, channels].
  """
  if not native:
    each = z.reshape(len(alive), -1, *z.shape[1:])
    second = [jnp.sum(g * z, AXES, keepdims=True) for z in each]
    return jnp.sum(g, AXES, keepdims=True), jnp.concatenate(second)
  shapes = [(n, 1, 1, 1, g.shape[-1]) for n in (len(g), alive.size)]
  given = 'products', None, g, z, alive
  return tuple(build.call('sums', *given, whole=1, totals=shapes))


def _products_gradient(native, kept, c):
  g, z, alive = kept
  first, second = c
  own, each = _stacked(second, alive), _stacked(z, alive)
  dg = first + sum(c * z for c, z in zip(own, each, strict=True))
  dz = [c * g if each.shape[1] == len(g) else sum(c * g)[None] for c in own]
  return dg.astype(g.dtype), jnp.concatenate(dz).astype(z.dtype), None


products.defvjp(build.keep(products), _products_gradient)

"""ReLU, depthwise and 1x1 convolution: most of a DARTS supernet's arithmetic.

On a CPU both convolutions are one foreign call, so that the result of the first
never leaves the cache; its gradients compute it again. Elsewhere XLA composes
them.
"""

from collections.abc import Sequence
import functools

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax import parallel
from sdnas_jax.native import build
from sdnas_jax.networks import depthwise

Kernels = depthwise.Kernels
Geometry = depthwise.Geometry
WAYS = (*depthwise.WAYS, 'dense')


def convolve(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  pointwise: jax.Array,
  dilations: Sequence[int],
  stride: int = 1,
  how: str | None = None,
) -> jax.Array:
  """pointwise(depthwise(relu(x))), on every edge.

  Args:
    x: [edges or 1, batch, height, width, channels].
    kernels: as for `depthwise.convolve`, which also says more of the others.
    pointwise: [edges, channels, features].
    dilations: of each kernel's taps.
    stride: of the depthwise convolution.
    how: one of `WAYS`; by default what suits the backend.

  Returns:
    [edges, batch, ceil(height / stride), ceil(width / stride), features].
  """
  how = how or depthwise.best()
  if how == 'native':
    geo = depthwise.geometry(x, kernels, dilations, stride)
    return fused(x, tuple(kernels), pointwise, geo)
  if how == 'dense':
    geo = depthwise.geometry(x, kernels, dilations, stride)
    return dense(jax.nn.relu(x), kernels, pointwise, geo)
  y = depthwise.convolve(jax.nn.relu(x), kernels, dilations, stride, how)
  return jnp.einsum('nbhwc,ncd->nbhwd', y, pointwise)


def dense(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  pointwise: jax.Array,
  geo: Geometry,
) -> jax.Array:
  """As ordinary convolutions with the product of both kernels.

  Several times the arithmetic, in the form that matrix units are made for.
  """
  points = depthwise.parts(pointwise, geo)
  outs = []
  for own, kernel, point, dilation in zip(
    depthwise.parts(x, geo), kernels, points, geo.dilations, strict=True
  ):
    edges, size, _, channels, features = (*kernel.shape, point.shape[-1])
    both = kernel[..., None] * point[:, None, None]
    both = jnp.moveaxis(both, 0, 3).reshape(size, size, channels, -1)
    rows = jnp.moveaxis(own, 0, 3)
    pad = (dilation * (size - 1) // 2,) * 2
    y = lax.conv_general_dilated(
      rows.reshape(*rows.shape[:3], -1),
      both,
      (geo.stride, geo.stride),
      (pad, pad),
      rhs_dilation=(dilation, dilation),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=len(own),
    )
    y = y.reshape(*y.shape[:3], edges, features)
    outs.append(jnp.moveaxis(y, 3, 0))
  return jnp.concatenate(outs)


def composed(
  x: jax.Array, kernels: Kernels, pointwise: jax.Array, geo: Geometry
) -> jax.Array:
  """What `fused` computes, from parts that differentiate to any order."""
  y = depthwise.WAYS['native'](jax.nn.relu(x), kernels, geo)
  return jnp.einsum('nbhwc,ncd->nbhwd', y, pointwise)


def _gradients(x, g, kernels, pointwise, geo):
  rule = functools.partial(composed, geo=geo)
  return jax.vjp(rule, x, kernels, pointwise)[1](g)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def fused(
  x: jax.Array, kernels: Kernels, pointwise: jax.Array, geo: Geometry
) -> jax.Array:
  """In one foreign call, and its gradients in one each.

  Derivatives of the gradients are those of `composed`.
  """

  def local(x, pointwise, *kernels):
    shape = sum(geo.edges), x.shape[1], *geo.out, pointwise.shape[-1]
    out = jax.ShapeDtypeStruct(shape, x.dtype)
    return build.call(
      'separable', out, x, pointwise, *kernels, **geo.attributes
    )

  whole = 1 + len(kernels)
  return parallel.rows(local, axis=1, whole=whole)(x, pointwise, *kernels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _input_gradient(x, g, kernels, pointwise, geo):
  def local(x, *rest):
    out = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return build.call('separable_input', out, x, *rest, **geo.attributes)

  whole = 1 + len(kernels)
  return parallel.rows(local, axis=1, whole=whole)(x, g, pointwise, *kernels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _kernel_gradients(x, g, kernels, pointwise, geo):
  out = [jax.ShapeDtypeStruct(k.shape, k.dtype) for k in (pointwise, *kernels)]

  def local(*operands):
    return tuple(
      build.call('separable_kernels', out, *operands, **geo.attributes)
    )

  whole = 1 + len(kernels)
  point, *own = parallel.rows(local, axis=1, whole=whole, total=True)(
    x, g, pointwise, *kernels
  )
  return tuple(own), point


def _forward(x, kernels, pointwise, geo):
  return fused(x, kernels, pointwise, geo), (x, kernels, pointwise)


def _backward(geo, kept, g):
  x, *rest = kept
  return (
    _input_gradient(x, g, *rest, geo),
    *_kernel_gradients(x, g, *rest, geo),
  )


fused.defvjp(_forward, _backward)


def _differentiate(gradient, part):
  """Gives a foreign gradient the derivatives of its part of `_gradients`."""

  def rule(geo, operands, cotangent):
    _, back = jax.vjp(
      lambda *operands: part(_gradients(*operands, geo)), *operands
    )
    return back(cotangent)

  gradient.defvjp(lambda *operands: (gradient(*operands), operands[:-1]), rule)


_differentiate(_input_gradient, lambda grads: grads[0])
_differentiate(_kernel_gradients, lambda grads: grads[1:])

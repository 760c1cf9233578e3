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
    return fused(x, tuple(kernels), pointwise, geo, True)
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def fused(
  x: jax.Array,
  kernels: Kernels,
  pointwise: jax.Array,
  geo: Geometry,
  relu: bool,
) -> jax.Array:
  """In one foreign call; with `relu` false, without that.

  It is linear in relu(x), in the kernels and in the pointwise kernel. So its
  gradients, and theirs to any order, are these three functions again.
  """

  def local(x, pointwise, *kernels):
    shape = sum(geo.edges), x.shape[1], *geo.out, pointwise.shape[-1]
    out = jax.ShapeDtypeStruct(shape, x.dtype)
    how = geo.attributes | {'relu': relu}
    return build.call(
      'separable', 'separable', out, x, pointwise, *kernels, **how
    )

  whole = 1 + len(kernels)
  return parallel.rows(local, axis=1, whole=whole)(x, pointwise, *kernels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _input_gradient(x, g, kernels, pointwise, geo, relu):
  def local(x, *rest):
    out = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return build.call(
      'separable', 'separable_input', out, x, *rest, **geo.attributes, relu=relu
    )

  whole = 1 + len(kernels)
  return parallel.rows(local, axis=1, whole=whole)(x, g, pointwise, *kernels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _kernel_gradients(x, g, kernels, pointwise, geo, relu):
  out = [jax.ShapeDtypeStruct(k.shape, k.dtype) for k in (pointwise, *kernels)]

  def local(*operands):
    return tuple(
      build.call(
        'separable',
        'separable_kernels',
        out,
        *operands,
        **geo.attributes,
        relu=relu,
      )
    )

  whole = 1 + len(kernels)
  point, *own = parallel.rows(local, axis=1, whole=whole, total=True)(
    x, g, pointwise, *kernels
  )
  return tuple(own), point


def _backward(geo, relu, kept, g):
  x, *rest = kept
  return (
    _input_gradient(x, g, *rest, geo, relu),
    *_kernel_gradients(x, g, *rest, geo, relu),
  )


def _input_backward(geo, relu, kept, c):
  x, g, *rest = kept
  c = jnp.where(x > 0, c, 0) if relu else c
  dk, dp = _kernel_gradients(c, g, *rest, geo, False)
  return None, fused(c, *rest, geo, False), dk, dp


def _kernels_backward(geo, relu, kept, c):
  x, g, k, p = kept
  ck, cp = c
  return (
    _input_gradient(x, g, ck, p, geo, relu)
    + _input_gradient(x, g, k, cp, geo, relu),
    fused(x, ck, p, geo, relu) + fused(x, k, cp, geo, relu),
    _kernel_gradients(x, g, k, cp, geo, relu)[0],
    _kernel_gradients(x, g, ck, p, geo, relu)[1],
  )


fused.defvjp(
  lambda x, k, p, geo, relu: (fused(x, k, p, geo, relu), (x, k, p)), _backward
)
_input_gradient.defvjp(
  lambda *operands: (_input_gradient(*operands), operands[:4]), _input_backward
)
_kernel_gradients.defvjp(
  lambda *operands: (_kernel_gradients(*operands), operands[:4]),
  _kernels_backward,
)

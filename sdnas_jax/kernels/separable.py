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
from sdnas_jax.kernels import build
from sdnas_jax.kernels import depthwise

Kernels = depthwise.Kernels
Geometry = depthwise.Geometry
# Depthwise kernels and their pointwise kernel.
Terms = tuple[tuple[Kernels, jax.Array], ...]
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
    return fused(x, ((tuple(kernels), pointwise),), geo, True)
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def fused(x: jax.Array, terms: Terms, geo: Geometry, relu: bool) -> jax.Array:
  """The terms' sum, in one foreign call; with `relu` false, without that.

  It is linear in relu(x), in the kernels and in the pointwise kernels. So its
  gradients, and theirs to any order, are these three functions again. Two terms
  are what the derivative of a product is made of.
  """

  def local(x, *rest):
    features = rest[0].shape[-1]
    shape = sum(geo.edges), x.shape[1], *geo.out, features
    out = jax.ShapeDtypeStruct(shape, x.dtype)
    return _call('separable', out, x, *rest, geo=geo, relu=relu)

  rest = _operands(terms)
  return parallel.rows(local, axis=1, whole=len(rest))(x, *rest)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _input_gradient(x, g, terms, geo, relu):
  def local(x, *rest):
    out = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return _call('separable_input', out, x, *rest, geo=geo, relu=relu)

  rest = _operands(terms)
  return parallel.rows(local, axis=1, whole=len(rest))(x, g, *rest)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _kernel_gradients(x, g, term, geo, relu):
  rest = _operands([term])
  out = [jax.ShapeDtypeStruct(k.shape, k.dtype) for k in rest]

  def local(*operands):
    call = _call('separable_kernels', out, *operands, geo=geo, relu=relu)
    return tuple(call)

  total = parallel.rows(local, axis=1, whole=len(rest), total=True)
  pointwise, *kernels = total(x, g, *rest)
  return tuple(kernels), pointwise


def _call(name, out, *operands, geo, relu):
  how = geo.attributes | {'relu': relu}
  return build.call('separable', name, out, *operands, **how)


def _operands(terms):
  """All pointwise kernels as one array, and each term's depthwise kernels."""
  kernels, pointwise = zip(*terms, strict=True)
  return jnp.concatenate(pointwise), *(k for own in kernels for k in own)


def _backward(geo, relu, kept, g):
  x, terms = kept
  return (
    _input_gradient(x, g, terms, geo, relu),
    tuple(_kernel_gradients(x, g, term, geo, relu) for term in terms),
  )


def _input_backward(geo, relu, kept, c):
  x, g, terms = kept
  c = jnp.where(x > 0, c, 0) if relu else c
  return (
    None,
    fused(c, terms, geo, False),
    tuple(_kernel_gradients(c, g, term, geo, False) for term in terms),
  )


def _kernels_backward(geo, relu, kept, c):
  x, g, (k, p) = kept
  ck, cp = c
  terms = (ck, p), (k, cp)
  dk, _ = _kernel_gradients(x, g, (k, cp), geo, relu)
  _, dp = _kernel_gradients(x, g, (ck, p), geo, relu)
  return (
    _input_gradient(x, g, terms, geo, relu),
    fused(x, terms, geo, relu),
    (dk, dp),
  )


def _keep(f):
  """Calls f and keeps its operands."""
  return lambda *operands: (f(*operands), operands[:-2])


fused.defvjp(_keep(fused), _backward)
_input_gradient.defvjp(_keep(_input_gradient), _input_backward)
_kernel_gradients.defvjp(_keep(_kernel_gradients), _kernels_backward)

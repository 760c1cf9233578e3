"""ReLU, depthwise and 1x1 convolution: most of a DARTS supernet's arithmetic.

On a CPU both convolutions are one foreign call, so that the result of the first
never leaves the cache; its gradients compute it again. Elsewhere XLA composes
them.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.kernels import build
from sdnas_jax.kernels import depthwise
from sdnas_jax.kernels import outputs

Kernels = depthwise.Kernels
Geometry = depthwise.Geometry
# Depthwise kernels and their pointwise kernel.
Terms = tuple[tuple[Kernels, jax.Array], ...]
BACKENDS = (*depthwise.BACKENDS, 'dense', 'native')


def convolve(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  pointwise: jax.Array,
  dilations: Sequence[int],
  stride: int,
  backend: str,
  alive: jax.Array | None = None,
) -> jax.Array:
  """pointwise(depthwise(relu(x))), on every edge.

  Args:
    x: [edges or 1, batch, height, width, channels]: every edge's own input, or
      one that all share. Zeros around it keep its size at stride 1. Of its
      type is the result; foreign functions round weights only to `build.real`.
    kernels: depthwise, each [its edges, size, size, channels], size odd;
      `edges` is the sum of theirs.
    pointwise: [edges, channels, features].
    dilations: of each kernel's taps.
    stride: of the depthwise convolution.
    backend: one of `BACKENDS`.
    alive: [edges] bool, false where both kernels are zero and their gradient is
      of no use: `native` computes nothing there. By default all are alive.

  Returns:
    [edges, batch, ceil(height / stride), ceil(width / stride), features].
  """
  geo = depthwise.geometry(x, kernels, dilations, stride)
  if backend == 'native':
    kernels, pointwise = _real(x, kernels, pointwise)
    alive = jnp.ones(len(pointwise), bool) if alive is None else alive
    return fused(x, ((kernels, pointwise),), alive, geo, True)
  kernels = tuple(kernel.astype(x.dtype) for kernel in kernels)
  pointwise = pointwise.astype(x.dtype)
  if backend == 'dense':
    return dense(jax.nn.relu(x), kernels, pointwise, geo)
  y = depthwise.BACKENDS[backend](jax.nn.relu(x), kernels, geo)
  return jnp.einsum('nbhwc,ncd->nbhwd', y, pointwise)


def _real(x, kernels, pointwise):
  """One of `Terms`, as foreign functions take it."""
  dtype = build.real(x.dtype)
  return tuple(k.astype(dtype) for k in kernels), pointwise.astype(dtype)


class Kind(NamedTuple):
  """Of `outputs.Outputs`; the weights are one of `Terms`."""

  geo: Geometry

  def shape(self, x, term):
    return _shape(x, term, self.geo)

  def outputs(self, x, term, alive):
    return fused(x, (term,), alive, self.geo, True)

  def moments(self, x, term, share, alive):
    shape = self.shape(x, term)
    sums = [(shape[0], 1, 1, 1, shape[-1])] * 2
    rows = x, share.astype(build.real(x.dtype))
    rest = alive, *_operands([term])
    return _call('separable_moments', shape, rows, rest, self.geo, True, sums)

  def input(self, x, term, *pulled):
    given = *_mixed_operands(x, term, *pulled), self.geo, True
    return _call('separable_input_mixed', x.shape, *given)

  def kernels(self, x, term, *pulled):
    shapes = [k.shape for k in _operands([term])]
    given = *_mixed_operands(x, term, *pulled), self.geo, True, shapes
    pointwise, *kernels = _call('separable_kernels_mixed', None, *given)
    return tuple(kernels), pointwise

  def both(self, x, term, *pulled):
    shapes = [k.shape for k in _operands([term])]
    given = *_mixed_operands(x, term, *pulled), self.geo, True, shapes
    dx, pointwise, *kernels = _call('separable_both_mixed', x.shape, *given)
    return dx, (tuple(kernels), pointwise)


def _mixed_operands(x, term, g, z, share, abc, alive):
  rest = alive.reshape(-1), *abc, *_operands([term])
  return [x, g, z, share.astype(build.real(x.dtype))], rest


def promise(
  x: jax.Array,
  kernels: Sequence[jax.Array],
  pointwise: jax.Array,
  dilations: Sequence[int],
  stride: int,
) -> outputs.Outputs:
  """What `convolve` by 'native' returns, for `outputs.blend`."""
  geo = depthwise.geometry(x, kernels, dilations, stride)
  return outputs.Outputs(Kind(geo), x, _real(x, kernels, pointwise))


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
    rows = rows.reshape(*rows.shape[:3], -1)
    y = depthwise.dilated(rows, both, geo.stride, dilation, len(own))
    y = y.reshape(*y.shape[:3], edges, features)
    outs.append(jnp.moveaxis(y, 3, 0))
  return jnp.concatenate(outs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def fused(
  x: jax.Array, terms: Terms, alive: jax.Array, geo: Geometry, relu: bool
) -> jax.Array:
  """The terms' sum in one foreign call, and zero on edges that are not alive.

  It is linear in relu(x) (or x, without `relu`), in the kernels and in the
  pointwise kernels. So its gradients, and theirs to any order, are these three
  functions again. Two terms are what the derivative of a product is made of.
  """
  rest = alive, *_operands(terms)
  return _call('separable', _shape(x, terms[0], geo), [x], rest, geo, relu)


def _shape(x, term, geo):
  return sum(geo.edges), x.shape[1], *geo.out, term[1].shape[-1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _input_gradient(x, g, terms, alive, geo, relu):
  rest = alive, *_operands(terms)
  return _call('separable_input', x.shape, [x, g], rest, geo, relu)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _kernel_gradients(x, g, term, alive, geo, relu):
  rest = alive, *_operands([term])
  shapes = [k.shape for k in rest[1:]]
  given = None, [x, g], rest, geo, relu, shapes
  pointwise, *kernels = _call('separable_kernels', *given)
  return tuple(kernels), pointwise


def _call(name, shape, rows, rest, geo, relu, totals=()):
  return build.call(
    *('separable', name, shape, *rows, *rest),
    whole=len(rest),
    totals=totals,
    stride=np.int64(geo.stride),
    dilations=np.asarray(geo.dilations, np.int64),
    relu=relu,
  )


def _operands(terms):
  """All pointwise kernels as one array, and each term's depthwise kernels."""
  kernels, pointwise = zip(*terms, strict=True)
  return jnp.concatenate(pointwise), *(k for own in kernels for k in own)


def _backward(geo, relu, kept, g):
  x, terms, alive = kept
  return (
    _input_gradient(x, g, terms, alive, geo, relu),
    tuple(_kernel_gradients(x, g, term, alive, geo, relu) for term in terms),
    None,
  )


def _input_backward(geo, relu, kept, c):
  x, g, terms, alive = kept
  c = jnp.where(x > 0, c, 0) if relu else c
  return (
    None,
    fused(c, terms, alive, geo, False),
    tuple(_kernel_gradients(c, g, term, alive, geo, False) for term in terms),
    None,
  )


def _kernels_backward(geo, relu, kept, c):
  x, g, (k, p), alive = kept
  ck, cp = c
  terms = (ck, p), (k, cp)
  dk, _ = _kernel_gradients(x, g, (k, cp), alive, geo, relu)
  _, dp = _kernel_gradients(x, g, (ck, p), alive, geo, relu)
  return (
    _input_gradient(x, g, terms, alive, geo, relu),
    fused(x, terms, alive, geo, relu),
    (dk, dp),
    None,
  )


fused.defvjp(build.keep(fused, 2), _backward)
_input_gradient.defvjp(build.keep(_input_gradient, 2), _input_backward)
_kernel_gradients.defvjp(build.keep(_kernel_gradients, 2), _kernels_backward)

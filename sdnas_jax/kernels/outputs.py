"""A convolution and the mixture of its normalised outputs, on a CPU.

The outputs z are large and memory is slow. `blend` is `mixture.blend` of a
convolution, but z are written once and read three times: their moments are
taken, and the gradient that reaches them is made of that of the mixture, where
the convolution and its gradients have them in the cache. Derivatives of its
gradient go by way of the gradient in z, which is `mixture.plane`.
"""

import functools
from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp

from sdnas_jax.kernels import mixture

Tree = Any


class Kind(Protocol):
  """A convolution of x with weights; hashable. `alive` is [outputs]."""

  def shape(self, x: jax.Array, weights: Tree) -> tuple[int, ...]:
    """Of its outputs z."""

  def outputs(self, x: jax.Array, weights: Tree, alive: jax.Array) -> jax.Array:
    """z, differentiable to any order."""

  def moments(self, x, weights, share, alive) -> list[jax.Array]:
    """z and their `mixture.moments`."""

  def input(self, x, weights, g, z, share, abc, alive) -> jax.Array:
    """The derivative in x, of mixture.plane(g, z, share, *abc) in z."""

  def kernels(self, x, weights, g, z, share, abc, alive) -> Tree:
    """The same in the weights."""

  def both(self, x, weights, g, z, share, abc, alive) -> tuple[jax.Array, Tree]:
    """Both at once, for less than one after the other where they share work."""


class Outputs(NamedTuple):
  """Outputs of a convolution that are not there yet."""

  kind: Kind
  x: jax.Array
  weights: Tree

  @property
  def shape(self) -> tuple[int, ...]:
    """[stack * edges, batch, height, width, channels]."""
    return self.kind.shape(self.x, self.weights)

  @property
  def dtype(self) -> jnp.dtype:
    return self.x.dtype


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 8))
def blend(
  kind: Kind,
  plain: bool,
  p: jax.Array,
  bias: jax.Array | None,
  x: jax.Array,
  weights: Tree,
  share: jax.Array,
  alive: jax.Array,
  epsilon: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """`mixture.blend` of such outputs; its arguments, and those of `Kind`.

  With `plain`, p [1, edges, 1] is 1 or 0 and has no derivative: nothing is
  mixed. Then z is not kept either, for what is normalised says as much.
  """
  operands = p, bias, x, weights, share, alive, epsilon
  return _computed(kind, plain, *operands)[0]


def _computed(kind, plain, p, bias, x, weights, share, alive, epsilon):
  z, *sums = _with_moments(kind, x, weights, share, alive.reshape(-1))
  out, kept = mixture.mixed(p, bias, z, share, *sums, alive, epsilon, True)
  if plain:  # of y = p (z - mean) scale, mean and scale are 0 and 1
    p, *_, mean, scale, _ = kept
    p = p * scale[None, :, 0, 0, 0]
    unit = jnp.zeros_like(mean), jnp.ones_like(scale)
    kept = p, bias is None, out[0], share, *unit, alive
  return out, (x, weights, *kept)


def _forward(kind, plain, *operands):
  """With a place for whether derivatives in x and in all weights are wanted."""
  *operands, epsilon = operands
  leaves = jax.tree.leaves((operands[2], operands[3]))
  both = () if all(leaf.perturbed for leaf in leaves) else None
  operands = jax.tree.map(lambda leaf: leaf.value, operands)
  out, kept = _computed(kind, plain, *operands, epsilon)
  return out, (both, *kept)


def _backward(kind, plain, epsilon, kept, gradients):
  both, x, weights, p, unbiased, z, share, mean, scale, alive = kept
  g = gradients[0]
  sums = mixture.products(g, z, alive, True)
  statistics = p, mean, scale, *sums
  dp = None
  if not plain:
    dp = mixture.weight_gradient(p, mixture.slopes(*statistics))
  pulled = x, weights, g, z, share, mixture.factors(*statistics), alive
  bias = None if unbiased else sums[0]
  if both is None:
    dx, dw = _input(kind, *pulled), _kernels(kind, *pulled)
  else:
    dx, dw = _both(kind, *pulled)
  return dp, bias, dx, dw, None, None


# To know what is wanted: with alphas alone, no derivative in the kernels is.
blend.defvjp(_forward, _backward, symbolic_zeros=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _with_moments(kind, x, weights, share, alive):
  return kind.moments(x, weights, share, alive)


def _moments_forward(kind, x, weights, share, alive):
  out = kind.moments(x, weights, share, alive)
  return out, (x, weights, share, alive, out[0])


def _moments_backward(kind, kept, c):
  x, weights, share, alive, z = kept
  g = (c[0] + share * (c[1] + 2 * z * c[2])).astype(z.dtype)
  outputs = functools.partial(kind.outputs, alive=alive)
  return *jax.vjp(outputs, x, weights)[1](g), None, None


_with_moments.defvjp(_moments_forward, _moments_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input(kind, *pulled):
  return kind.input(*pulled)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernels(kind, *pulled):
  return kind.kernels(*pulled)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _both(kind, *pulled):
  return kind.both(*pulled)


def _apart(kind, x, weights, g, z, share, abc, alive):
  """The derivatives in x and the weights, by way of that in z."""
  outputs = functools.partial(kind.outputs, alive=alive.reshape(-1))
  pulled = mixture.plane(g, z, share, *abc, alive, True)
  return jax.vjp(outputs, x, weights)[1](pulled)


def _apart_gradient(which, kind, kept, c):
  *operands, share, abc, alive = kept

  def gradient(x, weights, g, z, abc):
    return _apart(kind, x, weights, g, z, share, abc, alive)[which]

  *rest, dabc = jax.vjp(gradient, *operands, abc)[1](c)
  return *rest, None, dabc, None


def _kept(function):
  return lambda kind, *pulled: (function(kind, *pulled), pulled)


_input.defvjp(_kept(_input), functools.partial(_apart_gradient, 0))
_kernels.defvjp(_kept(_kernels), functools.partial(_apart_gradient, 1))
_both.defvjp(_kept(_both), functools.partial(_apart_gradient, slice(2)))

"""Shapes, sizes and first values of a network, without running it."""

from collections.abc import Sequence
import math
from typing import Any

from clu import parameter_overview
import flax.linen as nn
import jax
from jax import extend as jex
import jax.numpy as jnp
import numpy as np

from sdnas_jax.networks import ops

Tree = Any


def shapes(net: nn.Module, image: Sequence[int], *more: Tree) -> Tree:
  """The variables' shapes, for images [height, width, channels].

  `more` are the network's other arguments, as a supernet's mixing weights.
  """
  images = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  net = net.clone(depthwise='grouped')  # needs nothing compiled
  return jax.eval_shape(net.init, jax.random.key(0), images, *more)


def variables(shapes: Tree, seed: int) -> Tree:
  """First values of the variables: what `net.init` would draw, but by NumPy.

  XLA takes minutes to compile the thousands of small random arrays of
  `net.init`.
  """
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    name = path[-1].key
    if name in ('scale', 'var'):
      return np.ones(leaf.shape, np.float32)
    if name in ('bias', 'mean'):
      return np.zeros(leaf.shape, np.float32)
    half = ops.bound(leaf.shape)
    return rng.uniform(-half, half, leaf.shape).astype(np.float32)

  return jax.tree.map_with_path(draw, shapes)


def size(params: Tree) -> int:
  """How many numbers they are."""
  return sum(math.prod(x.shape) for x in jax.tree.leaves(params))


def parts(params: Tree) -> dict[str, jax.ShapeDtypeStruct]:
  """The network's parts, each as one array of all its parameters."""
  return {
    name: jax.ShapeDtypeStruct((size(part),), jnp.float32)
    for name, part in params.items()
  }


def overview(params: Tree) -> str:
  """A table of all arrays."""
  return parameter_overview.get_parameter_overview(params, include_stats=False)


def macs(net: nn.Module, image: Sequence[int], *more: Tree) -> int:
  """Multiply-adds of one image: convolutions and the classifier, as usual."""
  given = shapes(net, image, *more)
  net = net.clone(depthwise='grouped')  # by operations that can be counted
  images = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  jaxpr = jax.make_jaxpr(net.apply)(given, images, *more)
  return _count(jaxpr.jaxpr)


def _count(jaxpr):
  total = 0
  for eqn in jaxpr.eqns:
    out = math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == 'conv_general_dilated':
      layout = eqn.params['dimension_numbers'].rhs_spec
      kernel = eqn.invars[1].aval.shape
      total += out * math.prod(kernel[axis] for axis in layout[1:])
    elif eqn.primitive.name == 'dot_general':
      contracted = eqn.params['dimension_numbers'][0][0]
      left = eqn.invars[0].aval.shape
      total += out * math.prod(left[axis] for axis in contracted)
    for inner in jex.core.jaxprs_in_params(eqn.params):
      total += _count(inner)
  return total

"""Wider operations by copies of their channels (DrNAS, Chen et al. 2021).

When fewer channels pass by, the operations see more: the first are those they
had, the others copies, drawn with replacement for each operation of each edge,
and not rescaled. So a wider network is another function than the one before.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

Tree = Any
# (name of a group of channels, [rows, extra], how many there were) -> which of
# them are copied
Draw = Callable[[str, tuple[int, int], int], np.ndarray]


def drawing(seed: int) -> Draw:
  """Draws a group's copies at random, once."""
  rng, drawn = np.random.default_rng(seed), {}

  def draw(name, shape, count):
    if name not in drawn:
      drawn[name] = rng.integers(count, size=shape)
    return drawn[name]

  return draw


def widened(before: Any, first: Any, seed: int) -> Any:
  """A state of the search, `before`, in a supernet as wide as that of `first`.

  Weights, momenta and running statistics take the same copies.
  """
  draw = drawing(seed)
  old, new = before.params['weights'], first.params['weights']
  momenta = optax.tree_utils.tree_get(before.opt, 'trace')
  kernels = leaves(old)
  trace = grown(draw, kernels, momenta['weights'], new)
  return before._replace(
    params=before.params | {'weights': grown(draw, kernels, old, new)},
    stats=grown(draw, kernels, before.stats, first.stats),
    opt=optax.tree_utils.tree_set(
      before.opt, trace=momenta | {'weights': trace}
    ),
  )


def leaves(tree: Tree) -> dict[str, Any]:
  """By their paths."""
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {'/'.join(key.key for key in path): leaf for path, leaf in flat}


def grown(draw: Draw, kernels: Tree, tree: Tree, like: Tree) -> Tree:
  """A tree of a supernet's variables, of the shapes of another's.

  `kernels` are the parameters' `leaves`, as they were.
  """
  pairs = zip(leaves(tree).items(), jax.tree.leaves(like), strict=True)
  new = []
  for (name, x), target in pairs:
    if x.shape != target.shape:
      statistics = name.endswith(('mean', 'var'))
      grow = normalisation if statistics else parameter
      x = grow(draw, kernels, name, np.asarray(x), target.shape)
    new.append(x)
  return jax.tree.unflatten(jax.tree.structure(tree), new)


def parameter(draw, kernels, name, x, shape):
  """A kernel or a bias, first its inputs grown, then its outputs.

  The inputs of a 1x1 convolution are what the depthwise ones before it give.
  """
  module, _, leaf = name.rpartition('/')
  if x.ndim > 2 and x.shape[-2] != shape[-2]:
    before = [n for n in kernels if n.startswith(f'{module}/depthwise')]
    extra, count = shape[-2] - x.shape[-2], x.shape[-2]
    index = [draw(n, (len(kernels[n]), extra), count) for n in before] or [
      draw(f'{name} inputs', (len(x), extra), count)
    ]
    x = appended(x, -2, np.concatenate(index))
  own = f'{module}/kernel' if leaf == 'bias' else name
  extra, count = shape[-1] - x.shape[-1], x.shape[-1]
  return appended(x, -1, draw(own, (len(x), extra), count))


def normalisation(draw, kernels, name, x, shape):
  """Statistics of what kernels gave, which take the same copies.

  Several kernels gave rows each, or channels each: a halving skip, whose new
  channels are with those of their own half (in the authors' code, behind both
  and out of their order). Pools have copies of their own.
  """
  module = name.rpartition('/')[0].removesuffix('/Norm_0')
  made = [
    n for n in kernels
    if n.startswith(f'{module}/') and n.endswith(('pointwise', 'kernel'))
  ] or [module]  # fmt: skip
  halves = len(made) > 1 and len(kernels[made[0]]) == len(x)
  parts = np.split(x, len(made), axis=-1 if halves else 0)
  count, new = parts[0].shape[-1], shape[-1] // (len(made) if halves else 1)
  parts = [
    appended(part, -1, draw(n, (len(part), new - count), count))
    for n, part in zip(made, parts, strict=True)
  ]
  return np.concatenate(parts, axis=-1 if halves else 0)


def appended(x, axis, index):
  """x [rows, ...] with copies along an axis; index [rows, copies]."""
  shape = [1] * x.ndim
  shape[0], shape[axis] = index.shape
  copies = np.take_along_axis(x, index.reshape(shape), axis=axis)
  return np.concatenate([x, copies], axis=axis)

"""What operations cost: multiply-adds, depth, weights."""

import numpy as np

from sdnas_jax.networks import ops

PIXELS, MILLION = 32 * 32, 1e6
BLOCKS = [(2, ops.TWICE), (1, ops.ONCE)]


def tables(net):
  """Millions of multiply-adds on 32 x 32 pixels.

  Returns:
    [cells, edges, operations] for each kind of cell.
  """
  space, found = net.space, {}
  for kind, numbers in net.numbers.items():
    reduces = [kind == 'reduce' and i < space.inputs for i, _ in space.edges]
    cost = [
      [[_cost(name, net, n, r) for name in space.primitives] for r in reduces]
      for n in numbers
    ]
    found[kind] = np.array(cost).reshape(len(numbers), *space.shape)
  return found


def base(net):
  """The same of stem, classifier and what prepares the cells' inputs."""
  wide = [width(net, n) for n in range(len(net.cells))]
  inputs = [net.stem * net.channels] * 2
  inputs += [net.space.nodes * channels for channels in wide]
  total = PIXELS * 27 * inputs[0] + inputs[-1] * net.classes
  for n, channels in enumerate(wide):
    pixels = PIXELS // 4 ** net.cells[:n].count('reduce')
    total += pixels * channels * (inputs[n] + inputs[n + 1])
  return total / MILLION


def width(net, n):
  """A cell's channels."""
  return net.channels * 2 ** net.cells[: n + 1].count('reduce')


def _cost(name, net, n, reduces):
  """A 1 x 1 convolution takes as much at every width."""
  plain, (depth, size) = PIXELS * net.channels**2 / MILLION, blocks(name)
  if name == 'skip_connect':
    return plain * reduces
  return depth * plain * (1 + size**2 / width(net, n))


def blocks(name):
  """How many separable convolutions an operation is, and their side."""
  for count, kernels in BLOCKS:
    if name in kernels:
      return count, kernels[name][0]
  return 0, 0


def deep(space, channels=36):
  """[1, 1, operations] 1 / (1 + depth) + 0.1 share of weights (U-DARTS).

  Of so many channels, at stride 1, with scaled normalisation.
  """
  depth, size = np.array([blocks(name) for name in space.primitives]).T
  weights = depth * (size**2 * channels + channels**2 + 2 * channels)
  return (1 / (1 + depth) + 0.1 * weights / max(weights.sum(), 1))[None, None]

"""The size of any genotype's network against a sum over its operations."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from sdnas_jax.networks import derived
from sdnas_jax.networks import sizing
from tests import random_cells

IMAGE, CLASSES, LAYERS = (8, 8, 3), 7, 3
HALVING = 1, 2  # of three cells, those behind a third and two thirds


def norm(c):
  return 2 * c  # a scale and a bias for each channel


def separable(k, c):
  return k * k * c + c * c + norm(c)


# Of an operation from c channels to c, at stride 1.
WEIGHTS = {
  'max_pool_3x3': lambda c: 0,
  'avg_pool_3x3': lambda c: 0,
  'skip_connect': lambda c: 0,
  'noise': lambda c: 0,
  'sep_conv_3x3': lambda c: 2 * separable(3, c),
  'sep_conv_5x5': lambda c: 2 * separable(5, c),
  'sep_conv_7x7': lambda c: 2 * separable(7, c),
  'dil_conv_3x3': lambda c: separable(3, c),
  'dil_conv_5x5': lambda c: separable(5, c),
  'conv_7x1_1x7': lambda c: 2 * 7 * c * c + norm(c),
}


def operations(nodes, halves, c):
  """All that enter a cell's nodes from what is not zero.

  A skip that halves the resolution is a convolution.
  """
  total, zero = 0, set()
  for node, pairs in enumerate(nodes, 2):
    own = [p for p in pairs if p[0] != 'none' and p[1] not in zero]
    for name, source in own:
      total += WEIGHTS[name](c)
      if name == 'skip_connect' and halves and source < 2:
        total += c * c + norm(c)
    if not own:
      zero.add(node)
  return total


def counted(genotype, c):
  """The stem, the cells with their two preprocessings, the classifier."""
  total = 9 * 3 * 3 * c + norm(3 * c)
  before, last = 3 * c, 3 * c  # channels of the two cells before
  for layer in range(LAYERS):
    halves = layer in HALVING
    c *= 1 + halves
    kind = 'reduce' if halves else 'normal'
    graph = genotype.graphs.get(kind) or genotype.graphs[f'cell{layer}']
    total += before * c + norm(c) + last * c + norm(c)
    total += operations(graph.nodes, halves, c)
    before, last = last, c * len(graph.outputs)
  return total + last * CLASSES + CLASSES


@settings(max_examples=15)
@given(random_cells.genotypes(cells=(None, LAYERS)), st.sampled_from([2, 4]))
def test_the_parameters_are_those_of_its_live_operations(genotype, channels):
  net = derived.Derived(
    genotype, CLASSES, channels, layers=LAYERS, auxiliary=False
  )
  found = sizing.size(sizing.shapes(net, IMAGE)['params'])
  assert found == counted(genotype, channels)

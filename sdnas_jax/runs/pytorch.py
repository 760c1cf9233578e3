"""A derived network's weights by the names of PyTorch DARTS's networks.

  >>> arrays = pytorch.weights(net, variables)
  >>> arrays['cells.0._ops.0.op.1.weight'].shape  # depthwise [C, 1, 3, 3]

The names and layouts are those of NetworkCIFAR and NetworkImageNet in
quark0/darts, cnn/model.py and operations.py, which take them by

  weights = {k: torch.from_numpy(v) for k, v in np.load('weights.npz').items()}
  NetworkCIFAR(36, 10, 20, True, genotypes.FOUND).load_state_dict(weights)
"""

from collections.abc import Iterator
from typing import Any

from flax import traverse_util
import flax.linen as nn
import numpy as np

from sdnas_jax import errors
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space as spaces

Tree = Any
Names = Iterator[tuple[str, str]]  # ours, of a leaf; theirs
NORM = {
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}


def weights(net: nn.Module, variables: Tree) -> dict[str, np.ndarray]:
  """The state_dict of such a network in PyTorch.

  Args:
    net: `derived.Derived`.
    variables: its parameters and running statistics.

  Raises:
    BadInput: PyTorch DARTS has no such network.
  """
  cells = () if _other(net) else net.genotype.cells
  if [name for name, _ in cells] != ['normal', 'reduce'] or not all(
    len(pairs) == 2 for _, cell in cells for pairs in cell.live.nodes
  ):
    raise errors.BadInput(
      'PyTorch DARTS knows no such network: it has a normal and a reduction '
      'cell, and at each node two inputs that are not none'
    )
  return arrays(net, variables)


def arrays(net: nn.Module, variables: Tree) -> dict[str, np.ndarray]:
  """The same, also of cells that PyTorch DARTS does not know.

  Their operations are counted without those that are not live.

  Raises:
    BadInput: it is a network of NAS-Bench-201, or has noise.
  """
  if _other(net):
    raise errors.BadInput(
      'networks of NAS-Bench-201 are exported as StableHLO only: choose '
      '.stablehlo'
    )
  if net.noisy:
    raise errors.BadInput(
      'noise is drawn anew in each pass, which weights cannot say: networks '
      'with it are exported as StableHLO only, with fixed noise'
    )
  groups = (variables[name] for name in ('params', 'batch_stats'))
  ours = {}
  for group in groups:
    ours |= traverse_util.flatten_dict(group, sep='/')
  return {theirs: _turned(own, ours[own]) for own, theirs in _names(net)}


def _other(net):
  return isinstance(net.genotype, nasbench201.Genotype)


def graph(net: nn.Module, layer: int) -> spaces.Graph:
  """The live graph of a network's cell."""
  graphs = net.genotype.graphs
  kind = 'reduce' if layer in spaces.reductions(net.layers) else 'normal'
  return graphs[kind if kind in graphs else f'cell{layer}'].live


def _turned(name, x):
  """An array in PyTorch's layout, outputs first."""
  x, last = np.asarray(x), name.split('/')[-1]
  if last in NORM:
    return x.reshape(-1)
  x = x[0]
  if last.startswith('depthwise'):  # [height, width, channels]
    return x.transpose(2, 0, 1)[:, None]
  if x.ndim == 4:
    return x.transpose(3, 2, 0, 1)
  return x.T if 'lassifier' in name else x.T[:, :, None, None]


def _names(net) -> Names:
  """Those of all the network's arrays."""
  yield from (_stems if net.imagenet else _stem)()
  after = net.imagenet
  for layer in range(net.layers):
    reduction = layer in spaces.reductions(net.layers)
    ours, theirs = f'cell{layer}', f'cells.{layer}'
    if after:
      yield from _reduce(f'{ours}/FactorizedReduce_0', f'{theirs}.preprocess0')
    else:
      yield from _single(f'{ours}/ReluConvNorm_0', f'{theirs}.preprocess0')
    second = f'{ours}/ReluConvNorm_{0 if after else 1}'
    yield from _single(second, f'{theirs}.preprocess1')
    for n, (kind, source, _) in enumerate(graph(net, layer).edges):
      places = f'{ours}/Operation_{n}', f'{theirs}._ops.{n}'
      yield from _operation(kind, reduction and source < 2, *places)
    after = reduction
  if net.auxiliary:
    yield from _head(net.imagenet)
  yield from _linear('classifier', 'classifier')


def _stem() -> Names:
  yield 'stem/kernel', 'stem.0.weight'
  yield from _norm('stem/Norm_0', 'stem.1')


def _stems() -> Names:
  """Those of ImageNet's network."""
  for ours, conv, norm in (
    ('stem0', 'stem0.0', 'stem0.1'),
    ('stem1', 'stem0.3', 'stem0.4'),
    ('stem2', 'stem1.1', 'stem1.2'),
  ):
    yield f'{ours}/kernel', f'{conv}.weight'
    yield from _norm(f'{ours}_norm', norm)


def _head(imagenet) -> Names:
  """The auxiliary one's, of which ImageNet's lacks the second normalisation."""
  ours, theirs = 'auxiliary', 'auxiliary_head'
  yield f'{ours}/Conv_0/kernel', f'{theirs}.features.2.weight'
  yield from _norm(f'{ours}/Norm_0', f'{theirs}.features.3')
  yield f'{ours}/Conv_1/kernel', f'{theirs}.features.5.weight'
  if not imagenet:
    yield from _norm(f'{ours}/Norm_1', f'{theirs}.features.6')
  yield from _linear(f'{ours}/Classifier_0', f'{theirs}.classifier')


def _operation(kind, halves, ours, theirs) -> Names:
  if kind.startswith('sep_conv'):
    for n in range(2):
      yield from _separable(kind, f'{ours}/Separable_{n}', theirs, 4 * n)
  elif kind.startswith('dil_conv'):
    yield from _separable(kind, f'{ours}/Separable_0', theirs, 0)
  elif kind == 'conv_7x1_1x7':
    yield f'{ours}/Conv_0/kernel', f'{theirs}.1.weight'
    yield f'{ours}/Conv_1/kernel', f'{theirs}.2.weight'
    yield from _norm(f'{ours}/Norm_0', f'{theirs}.3')
  elif kind == 'skip_connect' and halves:
    yield from _reduce(f'{ours}/FactorizedReduce_0', theirs)


def _separable(kind, ours, theirs, first) -> Names:
  """Depthwise and pointwise convolution behind the ReLU that is the first."""
  size = f'{kind[-3:]}_dilated' if kind.startswith('dil') else kind[-3:]
  yield f'{ours}/depthwise_{size}', f'{theirs}.op.{first + 1}.weight'
  yield f'{ours}/pointwise', f'{theirs}.op.{first + 2}.weight'
  yield from _norm(f'{ours}/Norm_0', f'{theirs}.op.{first + 3}')


def _single(ours, theirs) -> Names:
  yield f'{ours}/Pointwise_0/kernel', f'{theirs}.op.1.weight'
  yield from _norm(f'{ours}/Norm_0', f'{theirs}.op.2')


def _reduce(ours, theirs) -> Names:
  for n in range(2):
    yield f'{ours}/Pointwise_{n}/kernel', f'{theirs}.conv_{n + 1}.weight'
  yield from _norm(f'{ours}/Norm_0', f'{theirs}.bn')


def _norm(ours, theirs) -> Names:
  for own, name in NORM.items():
    yield f'{ours}/{own}', f'{theirs}.{name}'


def _linear(ours, theirs) -> Names:
  yield f'{ours}/kernel', f'{theirs}.weight'
  yield f'{ours}/bias', f'{theirs}.bias'

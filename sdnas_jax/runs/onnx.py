"""A trained network in ONNX, for onnxruntime and its like:

  session = onnxruntime.InferenceSession('network.onnx')
  (logits,) = session.run(None, {'images': images})  # uint8 [any, H, W, C]

The graph is written node by node from the weights that `pytorch` names, for
exporters from JAX write dozens of nodes for each of these (docs/export.md).
"""

from typing import Any

import flax.linen as nn
import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import dataset
from sdnas_jax.runs import pytorch
from sdnas_jax.spaces import space as spaces

Tree = Any
OPSET, IR = 13, 8  # of 2021, which all runtimes know; what is used is older
EPSILON = 1e-5
BEHIND = [
  0,
  0,
  -1,
  -1,
  0,
  0,
  1,
  1,
]  # one row and column less before, more after


def model(net: nn.Module, variables: Tree, source: dataset.Source) -> bytes:
  """The network with its weights and the images' normalisation, serialised.

  It computes in float32 and has no auxiliary head.

  Args:
    net: `derived.Derived`.
    variables: its parameters and running statistics.
    source: of the images, whose mean, deviation and shape it is for.

  Raises:
    BadInput: it is a network of NAS-Bench-201, or the package onnx is missing.
  """
  try:
    from onnx import helper
    from onnx import numpy_helper
    from onnx import TensorProto
  except ImportError as error:
    raise errors.BadInput(
      "the package onnx is not installed: pip install 'onnx>=1.20,<2'"
    ) from error
  graph = Graph(helper.make_node, pytorch.arrays(net, variables))
  graph.network(net, source)
  images = 'images', TensorProto.UINT8, ['batch', *source.shape]
  logits = 'logits', TensorProto.FLOAT, ['batch', net.classes]
  taken = {name for node in graph.nodes for name in node.input}
  made = helper.make_graph(
    graph.nodes,
    'derived',
    [helper.make_tensor_value_info(*images)],
    [helper.make_tensor_value_info(*logits)],
    [
      numpy_helper.from_array(graph.arrays[n], n)
      for n in graph.arrays
      if n in taken
    ],
  )
  opsets = [helper.make_opsetid('', OPSET)]
  whole = helper.make_model(made, opset_imports=opsets, ir_version=IR)
  return whole.SerializeToString()


class Graph:
  """The nodes so far, and the arrays that they take, by their names.

  Methods take and return names of features, which are [batch, channels, height,
  width].
  """

  def __init__(self, make, arrays: dict[str, np.ndarray]):
    self.make, self.nodes, self.arrays = make, [], {}
    for name, x in arrays.items():
      self.given(name, x)

  def given(self, name: str, value: Any, kind: type = np.float32) -> str:
    self.arrays[name] = np.ascontiguousarray(value, kind)
    return name

  def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
    """A node's output, which has the node's number."""
    name = attributes.pop('name', f'{kind}_{len(self.nodes)}')
    self.nodes.append(self.make(kind, inputs, [name], **attributes))
    return name

  def conv(self, x, name, stride=1, pad=(0, 0), dilation=1, groups=1):
    return self.add(
      *('Conv', x, f'{name}.weight'),
      strides=[stride, stride] if isinstance(stride, int) else stride,
      pads=[*pad, *pad],
      dilations=[dilation, dilation],
      group=groups,
    )

  def norm(self, x, name):
    names = (f'{name}.{own}' for own in pytorch.NORM.values())
    return self.add('BatchNormalization', x, *names, epsilon=EPSILON)

  def network(self, net: nn.Module, source: dataset.Source) -> None:
    """All of it, from the images to the logits."""
    s0, s1 = (self.stems if net.imagenet else self.stem)(self.images(source))
    after = net.imagenet
    for layer in range(net.layers):
      reduction = layer in spaces.reductions(net.layers)
      cell = pytorch.graph(net, layer)
      s0, s1 = s1, self.cell(cell, f'cells.{layer}', s0, s1, reduction, after)
      after = reduction
    x = self.add('Flatten', self.add('GlobalAveragePool', s1))
    linear = 'classifier.weight', 'classifier.bias'
    self.add('Gemm', x, *linear, transB=1, name='logits')

  def images(self, source):
    """Those of zero mean and unit variance, as `augment.normalize` makes."""
    scale = self.given('scale', 1 / (255 * np.asarray(source.std)))
    shift = self.given('shift', np.divide(source.mean, source.std))
    x = self.add('Cast', 'images', to=1)  # TensorProto.FLOAT
    x = self.add('Sub', self.add('Mul', x, scale), shift)
    return self.add('Transpose', x, perm=[0, 3, 1, 2])

  def stem(self, x):
    x = self.norm(self.conv(x, 'stem.0', pad=(1, 1)), 'stem.1')
    return x, x

  def stems(self, x):
    half = {'stride': 2, 'pad': (1, 1)}
    x = self.norm(self.conv(x, 'stem0.0', **half), 'stem0.1')
    x = self.conv(self.add('Relu', x), 'stem0.3', **half)
    s0 = self.norm(x, 'stem0.4')
    x = self.conv(self.add('Relu', s0), 'stem1.1', **half)
    return s0, self.norm(x, 'stem1.2')

  def cell(self, graph, name, s0, s1, reduction, after):
    shrink = self.reduce if after else self.single
    states = [shrink(s0, f'{name}.preprocess0')]
    states.append(self.single(s1, f'{name}.preprocess1'))
    states += [''] * len(graph.nodes)
    for n, (kind, source, node) in enumerate(graph.edges):
      stride = 2 if reduction and source < 2 else 1
      y = self.operation(kind, states[source], f'{name}._ops.{n}', stride)
      states[node] = self.add('Add', states[node], y) if states[node] else y
    outputs = [
      states[n] or self.zero(states[1], reduction) for n in graph.outputs
    ]
    return self.add('Concat', *outputs, axis=1)

  def zero(self, x, reduction):
    """What a node without inputs is."""
    half = [1 + reduction] * 2
    x = self.add('MaxPool', x, kernel_shape=[1, 1], strides=half)
    return self.add('Mul', x, self.given('zero', 0))

  def operation(self, kind, x, name, stride):
    if kind.endswith('pool_3x3'):
      return self.pool(kind, x, stride)
    if kind == 'skip_connect':
      return x if stride == 1 else self.reduce(x, name)
    if kind == 'conv_7x1_1x7':
      x = self.conv(self.add('Relu', x), f'{name}.1', [1, stride], (0, 3))
      x = self.conv(x, f'{name}.2', [stride, 1], (3, 0))
      return self.norm(x, f'{name}.3')
    size, dilation = int(kind[-1]), 2 if kind.startswith('dil') else 1
    x = self.separable(x, f'{name}.op', 0, size, stride, dilation)
    if dilation == 1:
      x = self.separable(x, f'{name}.op', 4, size, 1, 1)
    return x

  def pool(self, kind, x, stride):
    form = {'kernel_shape': [3, 3], 'strides': [stride] * 2, 'pads': [1] * 4}
    return self.add('MaxPool' if kind[0] == 'm' else 'AveragePool', x, **form)

  def separable(self, x, name, first, size, stride, dilation):
    depthwise = f'{name}.{first + 1}'
    pad, groups = (
      dilation * (size // 2),
      len(self.arrays[f'{depthwise}.weight']),
    )
    x = self.add('Relu', x)
    x = self.conv(x, depthwise, stride, (pad, pad), dilation, groups)
    return self.norm(self.conv(x, f'{name}.{first + 2}'), f'{name}.{first + 3}')

  def single(self, x, name):
    x = self.conv(self.add('Relu', x), f'{name}.op.1')
    return self.norm(x, f'{name}.op.2')

  def reduce(self, x, name):
    """Two convolutions, one pixel apart; an odd size has a zero more."""
    x = self.add('Relu', x)
    other = self.add('Pad', x, self.given('behind', BEHIND, np.int64))
    one = self.conv(x, f'{name}.conv_1', 2)
    two = self.conv(other, f'{name}.conv_2', 2)
    return self.norm(self.add('Concat', one, two, axis=1), f'{name}.bn')

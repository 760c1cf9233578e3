"""What released modules call their parameters, and how some pages fill them.

`filling.darts` and its like tell where we keep what is called so.
"""

import json

import numpy as np

from sdnas_jax.spaces import nasbench201 as spaces
from tests.golden import filling

LEAVES = {
  **{'op.1': 'dw1', 'op.2': 'pw1', 'op.3': 'bn1'},
  **{'op.5': 'dw2', 'op.6': 'pw2', 'op.7': 'bn2'},
  **{'conv_1': 'conv_even', 'conv_2': 'conv_odd', 'bn': 'bn', '1': 'bn'},
}
WHOLE = {
  **{'stem.0.weight': 'stem/conv', 'stem.1.weight': 'stem/bn_scale'},
  **{'stem.1.bias': 'stem/bn_bias', 'classifier.weight': 'classifier/kernel'},
  'classifier.bias': 'classifier/bias',
}


def operation(name, primitives):
  """(operation, layer) of a mixed operation's `_ops.O.LAYER.weight`."""
  name, _ = name.rsplit('.', 1)
  if name.startswith('auxiliary_op.'):
    return 'auxiliary', LEAVES[name.removeprefix('auxiliary_op.')]
  _, number, layer = name.split('.', 2)
  own, leaf = primitives[int(number)], LEAVES[layer]
  return own, leaf[:2] if own.startswith('dil') else leaf


def supernet(name, primitives):
  """What the other pages call a parameter of the supernet."""
  if name in WHOLE:
    return WHOLE[name]
  _, cell, rest = name.split('.', 2)
  if rest.startswith('preprocess'):
    part, layer, *_ = rest.split('.')
    leaf = 'conv' if layer == 'op' else LEAVES[layer]
    return f'cell{cell}/{part}/{leaf}'
  _, edge, rest = rest.split('.', 2)
  return '/'.join([f'cell{cell}', f'edge{edge}', *operation(rest, primitives)])


def tabular(name):
  """The same of NAS-Bench-201's supernet, in which operations are numbered."""
  if name in WHOLE:
    return WHOLE[name].replace('/conv', '/kernel')
  name = name.replace('lastact.0.', 'last/bn_').replace('cells.', 'cell')
  if name.startswith('last'):
    return name.replace('weight', 'scale')
  cell, part, *rest, layer, leaf = name.split('.')
  if part == 'edges':
    return f'{cell}/{rest[0]}/{spaces.OPERATIONS[int(rest[1])]}/kernel'
  if part == 'downsample':
    return f'{cell}/shortcut/kernel'
  if layer == '1':
    return f'{cell}/{part}/kernel'
  return f'{cell}/{part}/bn_{leaf.replace("weight", "scale")}'


def sines(listed):
  """(name, values) of a page's JSON list of [name, shape]."""
  for i, (name, shape) in enumerate(json.loads(str(listed))):
    k = np.arange(np.prod(shape))
    yield name, 0.1 * np.sin(0.37 * k + i).reshape(shape)


def flat(own, shape):
  """A view of ours in PyTorch's layout, as one row of numbers."""
  axes = np.argsort(filling.AXES[len(shape)])
  inner = tuple(np.array(shape)[list(filling.AXES[len(shape)])])
  return np.asarray(own).reshape(inner).transpose(axes).ravel()

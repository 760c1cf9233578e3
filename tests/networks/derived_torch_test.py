"""The derived network against one written in PyTorch, with the same weights."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import derived
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))
import torch_derived  # noqa: E402

# Every operation, at stride 1 and 2, and a concatenation that skips a node.
ALL = (
  *(('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0)),
  *(('sep_conv_3x3', 2), ('sep_conv_5x5', 1), ('dil_conv_3x3', 3)),
  *(('dil_conv_5x5', 0), ('skip_connect', 2)),
)
EVERY = spaces.Genotype(
  'darts',
  (
    ('normal', spaces.paired(ALL, (2, 4, 5))),
    ('reduce', spaces.paired(ALL, (3, 4, 5))),
  ),
)


def weights(module, tree):
  """Pairs of a PyTorch array and the part of a Flax tree that it is."""
  own = torch_derived
  match module:
    case own.Reduce():
      yield module.even.weight, tree['Pointwise_0']['kernel']
      yield module.odd.weight, tree['Pointwise_1']['kernel']
      yield from norm(module.norm, tree['Norm_0'])
    case own.Cell():
      counts = {}
      for part in (module.first, module.second):
        kind = (
          'FactorizedReduce'
          if isinstance(part, own.Reduce)
          else ('ReluConvNorm')
        )
        n = counts[kind] = counts.get(kind, -1) + 1
        yield from weights(part, tree[f'{kind}_{n}'])
      for n, part in enumerate(module.ops):
        if own_tree := tree.get(f'Operation_{n}'):
          yield from operation(part, own_tree)
    case torch.nn.Sequential() if 'Pointwise_0' in tree:
      yield module[1].weight, tree['Pointwise_0']['kernel']
      yield from norm(module[2], tree['Norm_0'])


def operation(module, tree):
  if isinstance(module, torch_derived.Reduce):
    yield from weights(module, tree['FactorizedReduce_0'])
    return
  parts = module if 'Separable_1' in tree else [module]
  for n, part in enumerate(parts):
    own = tree[f'Separable_{n}']
    (depthwise,) = (own[name] for name in own if name.startswith('depthwise'))
    yield part[1].weight, depthwise
    yield part[2].weight, own['pointwise']
    yield from norm(part[3], own['Norm_0'])


def norm(module, tree):
  yield module.weight, tree['scale']
  yield module.bias, tree['bias']


def everything(net, params):
  yield net.stem[0].weight, params['stem']['kernel']
  yield from norm(net.stem[1], params['stem']['Norm_0'])
  for n, cell in enumerate(net.cells):
    yield from weights(cell, params[f'cell{n}'])
  head = params['auxiliary']
  yield net.head[2].weight, head['Conv_0']['kernel']
  yield from norm(net.head[3], head['Norm_0'])
  yield net.head[5].weight, head['Conv_1']['kernel']
  yield from norm(net.head[6], head['Norm_1'])
  for linear, part in (
    (net.head[9], head['Classifier_0']),
    (net.classifier, params['classifier']),
  ):
    yield linear.weight, part['kernel']
    yield linear.bias, part['bias']


def turned(ours, theirs):
  """A Flax array in the shape of its PyTorch twin."""
  x = np.asarray(ours)
  x = x.reshape(x.shape[1:] if x.ndim > 1 else x.shape)
  if theirs.ndim == 1:
    return x.reshape(theirs.shape)
  if theirs.ndim == 2:
    return x.T
  if x.ndim == 2:  # 1x1
    return x.T[:, :, None, None]
  if x.ndim == 3:  # depthwise
    return x.transpose(2, 0, 1)[:, None]
  return x.transpose(3, 2, 0, 1)


@pytest.mark.parametrize(
  'genotype', [EVERY, published.CELLS['DARTS_V2'].genotype]
)
@pytest.mark.parametrize('how', ['native', 'grouped'])
def test_logits_and_gradients_are_pytorch_s(genotype, how):
  net = derived.Derived(genotype, 10, channels=4, layers=3, depthwise=how)
  shapes = sizing.shapes(net.clone(depthwise='grouped'), (32, 32, 3))
  variables = sizing.variables(shapes, seed=0)
  rng = np.random.default_rng(0)
  # Neither ones nor zeros, so that each array counts.
  params = jax.tree.map(
    lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(np.float32),
    variables['params'],
  )
  other = torch_derived.Derived(genotype, 4, 3)
  pairs = list(everything(other, params))
  assert len(pairs) == len(list(other.parameters()))
  assert len(pairs) == len(jax.tree.leaves(params))
  with torch.no_grad():
    for theirs, ours in pairs:
      theirs.copy_(torch.tensor(turned(ours, theirs)))

  x = rng.standard_normal((6, 32, 32, 3)).astype(np.float32)
  g, h = (rng.standard_normal((6, 10)).astype(np.float32) for _ in range(2))

  @jax.jit
  def loss(params):
    variables_ = {**variables, 'params': params}
    (logits, head), _ = net.apply(
      variables_, x, train=True, mutable=['batch_stats']
    )
    return jnp.sum(g * logits) + jnp.sum(h * head), (logits, head)

  (_, (logits, head)), grads = jax.value_and_grad(loss, has_aux=True)(params)
  theirs = other(torch.tensor(x.transpose(0, 3, 1, 2)))
  total = sum(
    (torch.tensor(a) * b).sum() for a, b in zip((g, h), theirs, strict=True)
  )
  total.backward()
  for a, b in zip((logits, head), theirs, strict=True):
    np.testing.assert_allclose(a, b.detach(), rtol=1e-3, atol=1e-3)
  for theirs, ours in everything(other, grads):
    expected = theirs.grad.numpy()
    limit = 2e-3 * max(1, np.abs(expected).max())
    assert np.abs(turned(ours, theirs) - expected).max() < limit

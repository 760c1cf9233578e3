"""The supernet and the search step against those written in PyTorch."""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests.golden import filling

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))
import torch_supernet  # noqa: E402

SPACE = SPACES['darts']
LAYERS, CHANNELS, BATCH, CLASSES = 3, 4, 4, 10


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


@pytest.fixture
def theirs():
  """Three cells in float64, with alphas far from equal."""
  torch.set_num_threads(1)  # else its threads spin beside XLA's
  torch.set_default_dtype(torch.float64)
  made = torch_supernet.Search(BATCH, CHANNELS, LAYERS, CLASSES)
  torch.set_default_dtype(torch.float32)
  made.images = made.images[..., :16, :16]
  for alphas in made.alphas:
    alphas.data *= 1e3
  return made


def named(net):
  """Each parameter by the name that `filling.darts` knows it by."""
  yield 'stem/conv', net.stem[0].weight
  yield 'stem/bn_scale', net.stem[1].weight
  yield 'stem/bn_bias', net.stem[1].bias
  for n, cell in enumerate(net.cells):
    for k, module in enumerate((cell.first, cell.second)):
      yield from prefixed(f'cell{n}/preprocess{k}', shrunk(module))
    for e, edge in enumerate(cell.edges):
      for name, op in zip(SPACE.primitives[1:], edge.ops, strict=True):
        place = f'cell{n}/edge{e:02}/{name}'
        yield from prefixed(place, operation(name, op))
  yield 'classifier/kernel', net.classifier.weight
  yield 'classifier/bias', net.classifier.bias


def prefixed(place, parameters):
  for name, parameter in parameters:
    yield f'{place}/{name}', parameter


def shrunk(module):
  if isinstance(module, torch_supernet.Reduce):
    return [('conv_even', module.even.weight), ('conv_odd', module.odd.weight)]
  return [('conv', module[1].weight)]


def operation(name, op):
  if isinstance(op, torch_supernet.Reduce):
    return shrunk(op)
  if name.startswith('sep'):
    return [
      (f'{kind}{n}', op[n - 1][place].weight)
      for n in (1, 2)
      for kind, place in (('dw', 1), ('pw', 2))
    ]
  if name.startswith('dil'):
    return [('dw', op[1].weight), ('pw', op[2].weight)]
  return []


def ours(theirs):
  """The same search's parts and first state, and its two batches."""
  net = supernet.Supernet(SPACE, CLASSES, channels=CHANNELS, layers=LAYERS)
  values = [(name, x.detach().numpy()) for name, x in named(theirs.net)]
  assert len(values) == len(theirs.weights)
  alphas = {
    kind: jnp.asarray(a.detach().numpy())
    for kind, a in zip(SPACE.kinds, theirs.alphas, strict=True)
  }
  parts = filling.setup(net)
  variables = filling.fill(net, values, filling.darts)
  first = filling.state(parts, variables, alphas, decay=3e-4, clip=5.0)
  halves = zip(theirs.images.numpy(), theirs.labels.numpy(), strict=True)
  return parts, first, [filling.ready(*half) for half in halves]


def same(got, theirs, of):
  """Every parameter, or its gradient, up to rounding."""
  for name, x in named(theirs.net):
    own = np.array(filling.part(got, *filling.darts(name)))
    expected = np.empty_like(own)
    filling.put(expected, of(x))
    np.testing.assert_allclose(own, expected, rtol=1e-7, atol=1e-9)


def test_logits_and_gradients_are_pytorch_s(theirs):
  parts, first, (batch, _) = ours(theirs)

  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(w, a):
    mix = jax.tree.map(jax.nn.softmax, a)
    logits, _ = search.forward(parts.net, w, first.stats, batch, mix)
    return totals.cross_entropy(logits, batch), logits

  params = first.params['weights'], first.params['alphas']
  (_, logits), (of_w, of_a) = jax.jit(loss)(*params)
  expected = theirs.net(theirs.images[0], theirs.alphas).detach()
  np.testing.assert_allclose(logits, expected, rtol=1e-9)
  theirs._loss(0).backward()
  same(of_w, theirs, lambda x: x.grad.numpy())
  for kind, alphas in zip(SPACE.kinds, theirs.alphas, strict=True):
    np.testing.assert_allclose(of_a[kind], alphas.grad, atol=1e-12)


def test_three_steps_are_pytorch_s(theirs):
  parts, state, batches = ours(theirs)
  for _ in range(3):
    state = filling.step(state, filling.KEY, *batches, parts)
    theirs.step()
  same(state.params['weights'], theirs, lambda x: x.detach().numpy())
  for kind, alphas in zip(SPACE.kinds, theirs.alphas, strict=True):
    a = state.params['alphas'][kind]
    np.testing.assert_allclose(a, alphas.detach(), rtol=1e-7, atol=1e-9)


def test_nas_bench_201_s_logits_and_gradients_are_pytorch_s():
  torch.set_default_dtype(torch.float64)
  made = torch_supernet.Search(BATCH, CHANNELS, 1, space='nasbench201')
  torch.set_default_dtype(torch.float32)
  made.images = made.images[..., :16, :16]
  # Their order is that of the authors' network, whose names are known.
  names = [name for name, _ in filling.parameters(filling.load('nasbench201'))]
  values = [
    (n, w.detach().numpy()) for n, w in zip(names, made.weights, strict=True)
  ]
  net = nasbench201.Supernet(SPACES['nasbench201'], CLASSES, CHANNELS, layers=1)
  variables = filling.fill(net, values, filling.nasbench201)
  batch = filling.ready(made.images[0].numpy(), made.labels[0].numpy())

  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(w, a):
    stats, mix = variables['batch_stats'], {'cell': jax.nn.softmax(a)}
    logits, _ = search.forward(net, w, stats, batch, mix)
    return totals.cross_entropy(logits, batch), logits

  (alphas,) = made.alphas
  given = variables['params'], jnp.asarray(alphas.detach().numpy())
  (_, logits), (of_w, of_a) = jax.jit(loss)(*given)
  expected = made.net(made.images[0], made.alphas).detach()
  np.testing.assert_allclose(logits, expected, rtol=1e-9)
  made._loss(0).backward()
  np.testing.assert_allclose(of_a, alphas.grad, atol=1e-12)
  for name, w in zip(names, made.weights, strict=True):
    own = np.array(filling.part(of_w, *filling.nasbench201(name)))
    expected = np.empty_like(own)
    filling.put(expected, w.grad.numpy())
    np.testing.assert_allclose(own, expected, rtol=1e-7, atol=1e-9)

"""Exported weights in networks that PyTorch DARTS's names were written for."""

import jax
import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.networks import derived
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.runs import pytorch
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
nn = torch.nn

# Every operation at stride 1 and 2.
PAIRS = (
  *(('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0)),
  *(('sep_conv_3x3', 2), ('sep_conv_5x5', 1), ('dil_conv_3x3', 3)),
  *(('dil_conv_5x5', 0), ('skip_connect', 2), ('sep_conv_7x7', 1)),
  *(('conv_7x1_1x7', 0), ('conv_7x1_1x7', 5), ('sep_conv_3x3', 1)),
)
EVERY = spaces.Genotype(
  'darts',
  (
    ('normal', spaces.paired(PAIRS, (2, 4, 5, 6))),
    ('reduce', spaces.paired(PAIRS, (3, 4, 5, 7))),
  ),
)


def conv(inputs, outputs, size=1, stride=1, pad=0, **more):
  return nn.Conv2d(inputs, outputs, size, stride, pad, bias=False, **more)


class Held(nn.Module):
  """Some layers under the name `op`."""

  def __init__(self, *layers):
    super().__init__()
    self.op = nn.Sequential(*layers)

  def forward(self, x):
    return self.op(x)


class FactorizedReduce(nn.Module):
  def __init__(self, inputs, outputs):
    super().__init__()
    self.conv_1 = conv(inputs, outputs // 2, stride=2)
    self.conv_2 = conv(inputs, outputs // 2, stride=2)
    self.bn = nn.BatchNorm2d(outputs)

  def forward(self, x):
    x = x.relu()
    halves = self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])
    return self.bn(torch.cat(halves, 1))


def separable(c, size, stride, dilation=1):
  pad = dilation * (size // 2)
  depthwise = conv(c, c, size, stride, pad, dilation=dilation, groups=c)
  return nn.ReLU(), depthwise, conv(c, c), nn.BatchNorm2d(c)


def single(inputs, outputs):
  return Held(nn.ReLU(), conv(inputs, outputs), nn.BatchNorm2d(outputs))


def operation(kind, c, stride):
  match kind.split('_'):
    case ['max', *_]:
      return nn.MaxPool2d(3, stride, 1)
    case ['avg', *_]:
      return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    case ['skip', _]:
      return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
    case ['sep', _, size]:
      size = int(size[0])
      return Held(*separable(c, size, stride), *separable(c, size, 1))
    case ['dil', _, size]:
      return Held(*separable(c, int(size[0]), stride, 2))
  wide = conv(c, c, (1, 7), (1, stride), (0, 3))
  tall = conv(c, c, (7, 1), (stride, 1), (3, 0))
  return nn.Sequential(nn.ReLU(), wide, tall, nn.BatchNorm2d(c))


class Cell(nn.Module):
  def __init__(self, cell, before, c, reduction, after):
    super().__init__()
    self.preprocess0 = (FactorizedReduce if after else single)(before[0], c)
    self.preprocess1 = single(before[1], c)
    strides = (1 + (reduction and i < 2) for _, i, _ in cell.edges)
    parts = zip(cell.edges, strides, strict=True)
    self._ops = nn.ModuleList(operation(k, c, s) for (k, _, _), s in parts)
    self.cell = cell

  def forward(self, s0, s1):
    states = [self.preprocess0(s0), self.preprocess1(s1)]
    states += [0] * len(self.cell.nodes)
    for op, (_, source, node) in zip(self._ops, self.cell.edges, strict=True):
      states[node] = states[node] + op(states[source])
    return torch.cat([states[n] for n in self.cell.outputs], 1)


class Head(nn.Module):
  def __init__(self, c, classes, imagenet):
    super().__init__()
    pool = nn.AvgPool2d(5, 2 if imagenet else 3, count_include_pad=False)
    last = [] if imagenet else [nn.BatchNorm2d(768)]
    self.features = nn.Sequential(
      *(nn.ReLU(), pool, conv(c, 128), nn.BatchNorm2d(128), nn.ReLU()),
      *(conv(128, 768, 2), *last, nn.ReLU()),
    )
    self.classifier = nn.Linear(768, classes)

  def forward(self, x):
    return self.classifier(self.features(x).flatten(1))


class Network(nn.Module):
  """NetworkCIFAR, or NetworkImageNet, by the names of their parameters."""

  def __init__(self, c, classes, layers, genotype, imagenet):
    super().__init__()
    half, norm = {'stride': 2, 'pad': 1}, nn.BatchNorm2d
    before, after = [c if imagenet else 3 * c] * 2, imagenet
    if imagenet:
      first = conv(3, c // 2, 3, **half), norm(c // 2), nn.ReLU()
      self.stem0 = nn.Sequential(*first, conv(c // 2, c, 3, **half), norm(c))
      self.stem1 = nn.Sequential(nn.ReLU(), conv(c, c, 3, **half), norm(c))
    else:
      self.stem = nn.Sequential(conv(3, 3 * c, 3, 1, 1), norm(3 * c))
    self.cells, self.at = nn.ModuleList(), 2 * layers // 3
    for n in range(layers):
      reduction = n in (layers // 3, self.at)
      c *= 1 + reduction
      cell = genotype.graphs['reduce' if reduction else 'normal']
      self.cells.append(Cell(cell, before, c, reduction, after))
      before, after = [before[1], len(cell.outputs) * c], reduction
      if n == self.at:
        self.auxiliary_head = Head(before[1], classes, imagenet)
    self.classifier = nn.Linear(before[1], classes)

  def forward(self, x):
    if hasattr(self, 'stem'):
      s0 = s1 = self.stem(x)
    else:
      s0 = self.stem0(x)
      s1 = self.stem1(s0)
    for n, cell in enumerate(self.cells):
      s0, s1 = s1, cell(s0, s1)
      if n == self.at:
        head = self.auxiliary_head(s1)
    return self.classifier(s1.mean((2, 3))), head


def filled(net, shape):
  """Variables of which each array counts."""
  rng = np.random.default_rng(0)
  variables = sizing.variables(sizing.shapes(net, shape), seed=0)
  return jax.tree.map(lambda x: x + 0.2 * rng.random(x.shape), variables)


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


@pytest.mark.parametrize('genotype', [EVERY, published.find('DARTS_V2')])
@pytest.mark.parametrize('imagenet', [False, True])
def test_logits_are_pytorch_s(tmp_path, genotype, imagenet):
  side = 224 if imagenet else 32
  net = derived.Derived(genotype, 10, 4, 3, imagenet, depthwise='grouped')
  variables = filled(net, (side, side, 3))
  np.savez(tmp_path / 'w.npz', **pytorch.weights(net, variables))
  file = np.load(tmp_path / 'w.npz')
  other = Network(4, 10, 3, genotype, imagenet).double().eval()
  names = {n for n in other.state_dict() if not n.endswith('batches_tracked')}
  assert names == {*file}
  # As the module's docstring has it; it is strict.
  other.load_state_dict({k: torch.from_numpy(v) for k, v in file.items()})
  x = np.random.default_rng(0).standard_normal((3, side, side, 3))
  with torch.no_grad():
    logits, _ = other(torch.from_numpy(x.transpose(0, 3, 1, 2)))
  ours = jax.jit(net.apply)(variables, x)
  assert ours.dtype == np.float64
  np.testing.assert_allclose(ours, logits, rtol=1e-10, atol=1e-10)


def test_the_head_s_weights_are_its():
  """The head is there in training only, where the batch normalises."""
  net = derived.Derived(EVERY, 10, 4, 3, depthwise='grouped')
  variables = filled(net, (32, 32, 3))
  x = np.random.default_rng(0).standard_normal((4, 32, 32, 3))
  both, _ = net.apply(variables, x, train=True, mutable=['batch_stats'])
  weights = pytorch.weights(net, variables)
  other = Network(4, 10, 3, EVERY, False).double().train()
  other.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
  with torch.no_grad():
    theirs = other(torch.from_numpy(x.transpose(0, 3, 1, 2)))
  for a, b in zip(both, theirs, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


def test_without_a_head_there_is_none():
  net = derived.Derived(EVERY, 10, 4, 3, auxiliary=False)
  names = pytorch.weights(net, filled(net, (32, 32, 3)))
  assert not any(name.startswith('auxiliary') for name in names)
  assert 'classifier.bias' in names


NONE = spaces.paired([('none', 0), ('skip_connect', 1)], [2])
THREE = spaces.Graph(2, ((('skip_connect', 0),) * 3,), (2,))
USUAL = spaces.paired([('skip_connect', 0), ('skip_connect', 1)], [2])


@pytest.mark.parametrize(
  'cells',
  [
    (('normal', NONE), ('reduce', USUAL)),
    (('normal', USUAL), ('reduce', THREE)),
    (('cell0', USUAL), ('cell1', USUAL), ('cell2', USUAL)),
  ],
)
def test_what_pytorch_darts_has_not_is_refused(cells):
  net = derived.Derived(spaces.Genotype('darts', cells), 10, 4, 3)
  with pytest.raises(errors.BadInput, match='two inputs that are not none'):
    pytorch.weights(net, {})


def test_another_space_is_refused():
  net = nasbench201.Derived(published.find('5'), 10)
  with pytest.raises(errors.BadInput, match='knows no such network'):
    pytorch.weights(net, {})

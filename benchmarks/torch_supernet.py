"""The search step in plain PyTorch: what `search_step.py` compares with.

Every edge computes its primitives apart and sums them, as the formula
says; tensors are channels last. First order; batches and the optimisers' and
the clipping's numbers are those of `configs/search_cifar.py`.
"""

import torch
from torch import nn
from torch.nn import functional as F

PRIMITIVES = 8
NODES = 4
EDGES = 14


def norm(channels, affine=False):
  return nn.BatchNorm2d(channels, affine=affine)


def relu_conv_norm(inputs, channels):
  return nn.Sequential(
    nn.ReLU(), nn.Conv2d(inputs, channels, 1, bias=False), norm(channels)
  )


def separable(channels, size, stride, dilation):
  pad = dilation * (size - 1) // 2
  return nn.Sequential(
    nn.ReLU(),
    nn.Conv2d(
      channels,
      channels,
      size,
      stride,
      pad,
      dilation,
      groups=channels,
      bias=False,
    ),
    nn.Conv2d(channels, channels, 1, bias=False),
    norm(channels),
  )


def twice(channels, size, stride):
  return nn.Sequential(
    separable(channels, size, stride, 1), separable(channels, size, 1, 1)
  )


class Reduce(nn.Module):
  def __init__(self, inputs, channels):
    super().__init__()
    self.even = nn.Conv2d(inputs, channels // 2, 1, 2, bias=False)
    self.odd = nn.Conv2d(inputs, channels // 2, 1, 2, bias=False)
    self.norm = norm(channels)

  def forward(self, x):
    x = F.relu(x)
    y = torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1)
    return self.norm(y)


class Mixed(nn.Module):
  def __init__(self, channels, stride):
    super().__init__()
    self.ops = nn.ModuleList(
      [
        nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(channels)),
        nn.Sequential(
          nn.AvgPool2d(3, stride, 1, count_include_pad=False), norm(channels)
        ),
        nn.Identity() if stride == 1 else Reduce(channels, channels),
        twice(channels, 3, stride),
        twice(channels, 5, stride),
        separable(channels, 3, stride, 2),
        separable(channels, 5, stride, 2),
      ]
    )

  def forward(self, x, mix):
    return sum(p * op(x) for p, op in zip(mix[1:], self.ops, strict=True))


class Cell(nn.Module):
  def __init__(self, before, last, channels, reduction, after):
    super().__init__()
    shrink = Reduce if after else relu_conv_norm
    self.first = shrink(before, channels)
    self.second = relu_conv_norm(last, channels)
    self.edges = nn.ModuleList(
      Mixed(channels, 2 if reduction and source < 2 else 1)
      for node in range(NODES)
      for source in range(2 + node)
    )

  def forward(self, s0, s1, mix):
    states, edge = [self.first(s0), self.second(s1)], 0
    for _ in range(NODES):
      parts = [
        self.edges[edge + n](x, mix[edge + n]) for n, x in enumerate(states)
      ]
      edge += len(parts)
      states.append(sum(parts))
    return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
  def __init__(self, channels, layers, classes):
    super().__init__()
    last = before = 3 * channels
    self.stem = nn.Sequential(
      nn.Conv2d(3, last, 3, padding=1, bias=False), norm(last, affine=True)
    )
    self.cells, self.kinds, after = nn.ModuleList(), [], False
    for layer in range(layers):
      reduction = layer in (layers // 3, 2 * layers // 3)
      channels *= 1 + reduction
      self.cells.append(Cell(before, last, channels, reduction, after))
      self.kinds.append(int(reduction))
      before, last, after = last, NODES * channels, reduction
    self.classifier = nn.Linear(last, classes)

  def forward(self, x, alphas):
    mix = [a.softmax(-1).unbind() for a in alphas]
    mix = [[p.unbind() for p in kind] for kind in mix]
    s0 = s1 = self.stem(x)
    for cell, kind in zip(self.cells, self.kinds, strict=True):
      s0, s1 = s1, cell(s0, s1, mix[kind])
    return self.classifier(s1.mean((2, 3)))


class Convolved(nn.Sequential):
  """NAS-Bench-201's ReLU, convolution and normalisation."""

  def __init__(self, inputs, channels, size, stride=1, affine=False):
    # A bias, without effect, where the normalisation has none: so it is there.
    super().__init__(
      nn.ReLU(),
      nn.Conv2d(*(inputs, channels, size, stride, size // 2), bias=not affine),
      norm(channels, affine),
    )


class MixedBench(nn.Module):
  def __init__(self, channels):
    super().__init__()
    self.ops = nn.ModuleList(
      [
        nn.Identity(),
        Convolved(channels, channels, 1),
        Convolved(channels, channels, 3),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
      ]
    )

  forward = Mixed.forward


class BenchCell(nn.Module):
  def __init__(self, channels):
    super().__init__()
    self.edges = nn.ModuleList(MixedBench(channels) for _ in range(6))

  def forward(self, x, mix):
    states, edge = [x], 0
    for node in range(1, 4):
      parts = [
        self.edges[edge + n](x, mix[edge + n]) for n, x in enumerate(states)
      ]
      edge += node
      states.append(sum(parts))
    return states[-1]


class Residual(nn.Module):
  def __init__(self, channels):
    super().__init__()
    wide = 2 * channels
    self.body = nn.Sequential(
      Convolved(channels, wide, 3, 2, affine=True),
      Convolved(wide, wide, 3, affine=True),
    )
    self.shortcut = nn.Sequential(
      nn.AvgPool2d(2), nn.Conv2d(channels, wide, 1, bias=False)
    )

  def forward(self, x):
    return self.body(x) + self.shortcut(x)


class Bench(nn.Module):
  """NAS-Bench-201's supernet, `layers` cells a stage."""

  def __init__(self, channels, layers, classes):
    super().__init__()
    self.stem = nn.Sequential(
      nn.Conv2d(3, channels, 3, padding=1, bias=False),
      norm(channels, affine=True),
    )
    self.parts = nn.ModuleList()
    for stage in range(3):
      if stage:
        self.parts.append(Residual(channels))
        channels *= 2
      self.parts.extend(BenchCell(channels) for _ in range(layers))
    self.head = nn.Sequential(norm(channels, affine=True), nn.ReLU())
    self.classifier = nn.Linear(channels, classes)

  def forward(self, x, alphas):
    mix = [p.unbind() for p in alphas[0].softmax(-1).unbind()]
    x = self.stem(x)
    for part in self.parts:
      x = part(x, mix) if isinstance(part, BenchCell) else part(x)
    return self.classifier(self.head(x).mean((2, 3)))


# A supernet, and the shape of each table of alphas.
SPACES = {
  'darts': (Supernet, (EDGES, PRIMITIVES), (EDGES, PRIMITIVES)),
  'nasbench201': (Bench, (6, 5)),
}


class Search:
  """Steps of first-order DARTS on random images."""

  def __init__(self, batch, channels, layers, classes=10, space='darts'):
    torch.manual_seed(0)
    kind, *tables = SPACES[space]
    self.net = kind(channels, layers, classes)
    self.net = self.net.to(memory_format=torch.channels_last)
    self.alphas = [
      (1e-3 * torch.randn(table)).requires_grad_() for table in tables
    ]
    self.weights = list(self.net.parameters())
    self.sgd = torch.optim.SGD(
      self.weights, 0.025, momentum=0.9, weight_decay=3e-4
    )
    self.adam = torch.optim.Adam(
      self.alphas, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3
    )
    self.images = torch.randn(2, batch, 3, 32, 32)
    self.labels = torch.randint(0, classes, (2, batch))

  def _loss(self, half):
    x = self.images[half].contiguous(memory_format=torch.channels_last)
    return F.cross_entropy(self.net(x, self.alphas), self.labels[half])

  def step(self):
    for parameters, optimizer, half in (
      (self.alphas, self.adam, 1),
      (self.weights, self.sgd, 0),
    ):
      # Each gradient alone: not the other group's, which is thrown away.
      grads = torch.autograd.grad(self._loss(half), parameters)
      for p, g in zip(parameters, grads, strict=True):
        p.grad = g
      if optimizer is self.sgd:
        nn.utils.clip_grad_norm_(parameters, 5.0)
      optimizer.step()

"""A derived network and its training step in plain PyTorch, channels last.

What `derived_step.py` compares with: the CIFAR form, for genotypes of the seven
operations of the DARTS space.
"""

import torch
from torch import nn
from torch.nn import functional as F


def norm(channels):
  return nn.BatchNorm2d(channels)


def relu_conv_norm(inputs, channels):
  conv = nn.Conv2d(inputs, channels, 1, bias=False)
  return nn.Sequential(nn.ReLU(), conv, norm(channels))


def separable(channels, size, stride, dilation=1):
  pad = dilation * (size - 1) // 2
  depthwise = nn.Conv2d(
    *(channels, channels, size, stride, pad, dilation),
    groups=channels,
    bias=False,
  )
  pointwise = nn.Conv2d(channels, channels, 1, bias=False)
  return nn.Sequential(nn.ReLU(), depthwise, pointwise, norm(channels))


def twice(channels, size, stride):
  one, two = separable(channels, size, stride), separable(channels, size, 1)
  return nn.Sequential(one, two)


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


def operation(kind, channels, stride):
  match kind:
    case 'max_pool_3x3':
      return nn.MaxPool2d(3, stride, 1)
    case 'avg_pool_3x3':
      return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    case 'skip_connect':
      return nn.Identity() if stride == 1 else Reduce(channels, channels)
    case 'sep_conv_3x3' | 'sep_conv_5x5':
      return twice(channels, int(kind[-1]), stride)
    case 'dil_conv_3x3' | 'dil_conv_5x5':
      return separable(channels, int(kind[-1]), stride, 2)
  raise ValueError(kind)


class Cell(nn.Module):
  def __init__(self, graph, inputs, channels, reduction, after):
    super().__init__()
    shrink = Reduce if after else relu_conv_norm
    self.first = shrink(inputs[0], channels)
    self.second = relu_conv_norm(inputs[1], channels)
    self.graph, self.ops = graph, nn.ModuleList()
    for kind, source, _ in graph.edges:
      stride = 2 if reduction and source < 2 else 1
      self.ops.append(operation(kind, channels, stride))
    self.dropped = [type(op) is not nn.Identity for op in self.ops]

  def path(self, n, x, drop):
    x = self.ops[n](x)
    if self.training and drop and self.dropped[n]:
      kept = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - drop)
      x = x * (kept / (1 - drop))
    return x

  def forward(self, s0, s1, drop):
    states = [self.first(s0), self.second(s1)]
    states += [0.0] * len(self.graph.nodes)
    for n, (_, source, node) in enumerate(self.graph.edges):
      states[node] = states[node] + self.path(n, states[source], drop)
    return torch.cat([states[n] for n in self.graph.outputs], dim=1)


class Derived(nn.Module):
  def __init__(self, genotype, channels, layers, classes=10):
    super().__init__()
    inputs, after = [3 * channels] * 2, False
    self.stem = nn.Sequential(
      nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), norm(3 * channels)
    )
    self.cells, self.where = nn.ModuleList(), 2 * layers // 3
    for layer in range(layers):
      reduction = layer in (layers // 3, self.where)
      channels *= 1 + reduction
      kind = 'reduce' if reduction else 'normal'
      graph = genotype.graphs[kind].live
      self.cells.append(Cell(graph, inputs, channels, reduction, after))
      inputs = [inputs[1], len(graph.outputs) * channels]
      after = reduction
      if layer == self.where:
        self.head = nn.Sequential(
          *(nn.ReLU(), nn.AvgPool2d(5, 3)),
          *(nn.Conv2d(inputs[1], 128, 1, bias=False), norm(128), nn.ReLU()),
          *(nn.Conv2d(128, 768, 2, bias=False), norm(768), nn.ReLU()),
          *(nn.Flatten(), nn.Linear(768, classes)),
        )
    self.classifier = nn.Linear(inputs[1], classes)

  def forward(self, x, drop=0.0):
    s0 = s1 = self.stem(x)
    for layer, cell in enumerate(self.cells):
      s0, s1 = s1, cell(s0, s1, drop)
      if layer == self.where and self.training:
        side = self.head(s1)
    logits = self.classifier(s1.mean((2, 3)))
    return (logits, side) if self.training else logits


class Training:
  """Steps on random images, by the numbers of `configs/evaluate_cifar.py`."""

  def __init__(self, genotype, batch, channels, layers, drop, classes=10):
    torch.manual_seed(0)
    self.net = Derived(genotype, channels, layers, classes)
    self.net = self.net.to(memory_format=torch.channels_last)
    self.sgd = torch.optim.SGD(
      self.net.parameters(), 0.025, momentum=0.9, weight_decay=3e-4
    )
    images = torch.randn(batch, 3, 32, 32)
    self.images = images.contiguous(memory_format=torch.channels_last)
    self.labels, self.drop = torch.randint(0, classes, (batch,)), drop

  def step(self):
    self.net.train()
    self.sgd.zero_grad()
    logits, side = self.net(self.images, self.drop)
    loss = F.cross_entropy(logits, self.labels)
    (loss + 0.4 * F.cross_entropy(side, self.labels)).backward()
    nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
    self.sgd.step()

  @torch.no_grad()
  def infer(self):
    self.net.eval()
    return self.net(self.images)

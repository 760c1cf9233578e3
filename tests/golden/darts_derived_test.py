"""The derived network and its training against DARTS's released code.

All in float64; README.md beside this file tells what the arrays are.
"""

import functools
import math
import pathlib
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import evaluate_cifar
from configs import evaluate_imagenet
from configs import search_cifar
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import split
from sdnas_jax.networks import derived
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import published
from sdnas_jax.steps import totals

GOLDEN = np.load(pathlib.Path(__file__).with_name('darts.npz'))
SEED = int(GOLDEN['meta/seed_s'])
CELL = published.CELLS['DARTS_V2'].genotype
LAYERS, EDGES, KEY = 5, 8, jax.random.key(0)
NETWORKS = {  # shape and number of the batch, and the recipe
  'derived': ((8, 3, 32, 32), 20, evaluate_cifar.get_config()),
  'imagenet': ((2, 3, 224, 224), 21, evaluate_imagenet.get_config()),
}
# From the release's names of parameters to ours, one after another.
PLACES = (
  (r'stem0/conv1', 'stem0/kernel'),
  (r'stem0/conv2', 'stem1/kernel'),
  (r'stem1/conv', 'stem2/kernel'),
  (r'stem1/bn', 'stem2_norm'),
  (r'stem0/bn2', 'stem1_norm'),
  (r'stem0/bn1', 'stem0_norm'),
  (r'stem/conv', 'stem/kernel'),
  (r'aux/conv1', 'auxiliary/Conv_0/kernel'),
  (r'aux/conv2', 'auxiliary/Conv_1/kernel'),
  (r'aux/bn1', 'auxiliary/Norm_0'),
  (r'aux/bn2', 'auxiliary/Norm_1'),
  (r'aux/classifier', 'auxiliary/Classifier_0'),
  (r'conv_even', 'Pointwise_0/kernel'),
  (r'conv_odd', 'Pointwise_1/kernel'),
  (r'(ReluConvNorm_.)/conv', r'\1/Pointwise_0/kernel'),
  (r'edge0(.)/\w+/(dw|pw|bn)2', r'Operation_\1/Separable_1/\2'),
  (r'edge0(.)/dil\w+/dw', r'Operation_\1/Separable_0/depthwise_3x3_dilated'),
  (r'edge0(.)/\w+/(dw|pw|bn)1?', r'Operation_\1/Separable_0/\2'),
  (r'dw', 'depthwise_3x3'),
  (r'pw', 'pointwise'),
  (r'/bn\d?', '/Norm_0'),
  (r'_(scale|bias)$', r'/\1'),
)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def filled(t, s, a, shape):
  """README.md's h(t, s, a)."""
  i = np.arange(1, math.prod(shape) + 1)
  n = (7919 * i**2 + 104729 * (t + 1) * i + 15485863 * s) % 1000003
  return (a * (2 * n / 1000003 - 1)).reshape(shape)


def close(found, expected):
  """Asserts that they differ by 1e-9 of the largest number at most."""
  found = np.asarray(found)
  assert found.dtype == np.float64 and found.shape == expected.shape
  assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()


def place(name, names):
  """Where we keep what the release calls so."""
  halves = name.split('/')[0] + '/preprocess0/conv_even' in names
  first = 'FactorizedReduce_0' if halves else 'ReluConvNorm_0'
  name = name.replace('preprocess0', first)
  name = name.replace('preprocess1', f'ReluConvNorm_{1 - halves}')
  for pattern, ours in PLACES:
    name = re.sub(pattern, ours, name)
  return name


def weights(network):
  """The release's parameters in our layout, by our names."""
  names = GOLDEN[f'{network}/param_names'].tolist()
  size, found = {4: 2.0, 2: 0.2, 1: 0.5}, {}
  for t, name in enumerate(names):
    text = GOLDEN[f'{network}/param_shapes'][t]
    shape = tuple(map(int, text.split('x')))
    x = filled(t, SEED, size[len(shape)], shape) + name.endswith('_scale')
    x = x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T
    found[place(name, names)] = x
  return found


def named(tree):
  """The arrays of a tree by their paths."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): x
    for path, x in leaves
  }


def parts(network):
  """The network, its first variables and its images."""
  shape, batch, _ = NETWORKS[network]
  net = derived.Derived(
    CELL,
    classes=10,
    channels=4,
    layers=LAYERS,
    imagenet=network == 'imagenet',
    depthwise='grouped',
  )
  shapes = sizing.shapes(net, (*shape[2:], shape[1]))
  given, (leaves, tree) = weights(network), jax.tree.flatten(shapes['params'])
  names = list(named(shapes['params']))
  assert given.keys() == set(names)
  params = [
    given[n].reshape(x.shape) for n, x in zip(names, leaves, strict=True)
  ]
  stats = jax.tree.map_with_path(
    lambda path, x: np.full(x.shape, float(path[-1].key == 'var')),
    shapes['batch_stats'],
  )
  variables = {'params': jax.tree.unflatten(tree, params), 'batch_stats': stats}
  images = filled(batch, SEED + 11, 2.0, shape).transpose(0, 2, 3, 1)
  return net, variables, images


@functools.cache
def program(network):
  """What `train` calls, and with what first."""
  net, variables, images = parts(network)
  recipe = NETWORKS[network][2].weights
  labels = GOLDEN[f'{network}/labels']
  rows = split.Batch(images, labels, labels, np.ones(len(labels), bool))
  call = derived.sharing.call

  def loss(params, drop):
    features = []

    def record(parent, name, cell, s0, s1, *more):
      out = call(parent, name, cell, s0, s1, *more)
      features.extend([out] if features else [s0, s1, out])
      return out

    with mock.patch.object(derived.sharing, 'call', record):
      (logits, head), new = net.apply(
        {**variables, 'params': params},
        images,
        train=True,
        key=KEY,
        drop=drop,
        mutable=['batch_stats'],
      )
    own, side = (
      totals.cross_entropy(z, rows, recipe.smoothing) for z in (logits, head)
    )
    total = own + recipe.auxiliary * side
    losses = jnp.stack([own, side, total])
    return total, (losses, logits, head, new['batch_stats'], features)

  return jax.jit(jax.grad(loss, has_aux=True)), variables['params']


@functools.cache
def train(network, drop=0.0):
  """Losses, both logits, new statistics, the cells' features; gradients.

  The features begin with the first cell's two inputs.
  """
  differentiate, params = program(network)
  grads, aux = differentiate(params, drop)
  return *aux, grads


@pytest.fixture(scope='module', autouse=True)
def masks():
  """Gives drop path the release's masks for its draws, without which all stay.

  One program serves both.
  """
  masks = GOLDEN['derived/drop/masks'].astype(bool)
  cells = [jax.random.fold_in(KEY, cell) for cell in range(LAYERS)]
  keys = jnp.stack([jax.random.split(cell, EDGES) for cell in cells])
  keys = np.asarray(jax.random.key_data(keys))
  kept = np.zeros((LAYERS, EDGES, masks.shape[1]), bool)
  kept[tuple(GOLDEN['derived/drop/order'].T)] = masks

  def bernoulli(key, p, shape):
    found = (keys == jax.random.key_data(key)[None, None]).all(axis=-1)
    own = (found[..., None] & kept).any(axis=(0, 1))
    return jnp.broadcast_to(p == 1, shape) | jnp.resize(own, shape)

  jax.clear_caches()  # of the cells traced with draws, then with masks
  with mock.patch.object(jax.random, 'bernoulli', bernoulli):
    yield
  jax.clear_caches()


def norms(network, grads):
  names, grads = GOLDEN[f'{network}/param_names'].tolist(), named(grads)
  return [np.linalg.norm(grads[place(name, names)]) for name in names]


@pytest.mark.parametrize('network', NETWORKS)
def test_losses_logits_and_gradients(network):
  losses, logits, head, *_, grads = train(network)
  close(losses, GOLDEN[f'{network}/loss'])
  close(logits, GOLDEN[f'{network}/logits_train'])
  close(head, GOLDEN[f'{network}/aux_train'])
  close(norms(network, grads), GOLDEN[f'{network}/param_grad_l2'])


@pytest.mark.parametrize('network', NETWORKS)
def test_evaluation_by_the_running_statistics(network):
  """Our running variance is of the batch as it is, the release's unbiased."""
  net, variables, images = parts(network)
  given = {**variables, 'batch_stats': train(network)[3]}
  logits = jax.jit(net.apply)(given, images)
  close(logits, GOLDEN[f'{network}/logits_eval_biased'])
  assert np.abs(logits - GOLDEN[f'{network}/logits_eval']).max() > 1e-6


def test_running_statistics():
  names = GOLDEN['derived/param_names'].tolist()
  stats = named(train('derived')[3])
  layers, counts = GOLDEN['derived/bn_names'], GOLDEN['derived/bn_count']
  sums = []
  for name, n in zip(layers, counts, strict=True):
    mean, var = (
      np.asarray(stats[f'{place(name, names)}/{what}']).ravel()
      for what in ('mean', 'var')
    )
    unbiased = 0.9 + (var - 0.9) * n / (n - 1)
    sums.append((mean.sum(), (mean**2).sum(), unbiased.sum()))
  assert len(sums) == len(stats) // 2
  for found, expected in zip(
    np.transpose(sums), GOLDEN['derived/bn_sums'].T, strict=True
  ):
    close(found, expected)


def test_drop_path():
  drop = float(GOLDEN['derived/drop/prob'])
  losses, logits, head, *_, grads = train('derived', drop)
  close(losses, GOLDEN['derived/drop/loss'])
  close(logits, GOLDEN['derived/drop/logits_train'])
  close(head, GOLDEN['derived/drop/aux_train'])
  close(norms('derived', grads), GOLDEN['derived/drop/param_grad_l2'])


def test_features_on_imagenet():
  """Of the stems, which are the first cell's inputs, and of all cells."""
  features = [np.asarray(x) for x in train('imagenet')[4]]
  shapes = [(x.shape[1], x.shape[4], *x.shape[2:4]) for x in features]
  np.testing.assert_array_equal(shapes, GOLDEN['imagenet/out_shape'])
  close([np.linalg.norm(x) for x in features], GOLDEN['imagenet/out_l2'])


@pytest.mark.parametrize(
  'config, name',
  [(search_cifar, 'lr/search50'), (evaluate_cifar, 'lr/eval600')],
)
def test_learning_rate(config, name):
  w, epochs = config.get_config().weights, config.get_config().epochs
  rates = optimizers.cosine(w.lr, w.lr_min, jnp.arange(epochs), epochs)
  close(optimizers.warm(rates, jnp.arange(epochs), w.warmup), GOLDEN[name])


@pytest.mark.parametrize('classes', [10, 1000])
def test_label_smoothing(classes):
  logits = filled(classes, SEED + 14, 3.0, (4, classes))
  labels = GOLDEN[f'smooth/K{classes}_labels']
  rows = split.Batch(logits, labels, labels, np.ones(4, bool))

  smoothing = evaluate_imagenet.get_config().weights.smoothing
  loss = functools.partial(totals.cross_entropy, batch=rows)
  losses = [loss(logits, smoothing=share) for share in (smoothing, 0.0)]
  close(np.stack(losses), GOLDEN[f'smooth/K{classes}'])
  if classes == 10:
    slope = jax.grad(loss)(logits, smoothing=smoothing)
    close(slope, GOLDEN['smooth/K10_grad'])


@pytest.mark.parametrize('side', [16, 7])
def test_cutout(side, monkeypatch):
  """Of an odd side we blank the whole, the release one row and column less."""
  centres, masks = GOLDEN['cutout/centres'], GOLDEN[f'cutout/masks_{side}']
  axes = iter(centres.T[:, :, None])  # y, then x
  monkeypatch.setattr(jax.random, 'randint', lambda *_: jnp.array(next(axes)))
  images = np.ones((*masks.shape, 3))
  out = np.asarray(augment.cutout(jax.random.key(0), images, side))
  rows = np.arange(masks.shape[-1])
  for image, mask, centre in zip(out, masks, centres, strict=True):
    first, last = centre - side // 2, centre - side // 2 + side - 1
    y, x = (rows >= first[:, None]) & (rows <= last[:, None])
    blank = y[:, None] & x
    assert (image == ~blank[..., None]).all()
    odd = side % 2
    y, x = (n & (rows <= last[:, None] - odd)[k] for k, n in enumerate((y, x)))
    assert (mask == ~(y[:, None] & x)).all()

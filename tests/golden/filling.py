"""Golden numbers: arrays by name, and the parameters' values in our layout.

The pages that the README names say what each array holds. There a parameter
has a name for each edge and operation; here it is a row of an array that
several edges and kernel sizes share: `darts` and `nasbench201` tell which.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdnas_jax import methods
from sdnas_jax.data import split
from sdnas_jax.methods import arch as archs
from sdnas_jax.networks import columns
from sdnas_jax.networks import nasbench201 as cells
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests import toys

KEY = jax.random.key(0)  # nothing here is random
ROUNDING = 1e-9  # of what is 0, as a bias's gradient before a normalisation
LR, MOMENTUM = 0.025, 0.9
ALPHAS_RATE, BETA, ALPHAS_DECAY = 3e-4, 0.5, 1e-3
AMPLITUDES = {4: 2.0, 2: 0.2, 1: 0.5}  # of a parameter, by its axes
AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # PyTorch's in the order of ours
LAYER = {
  'kernel': 'kernel',
  'bias': 'bias',
  'conv': 'Pointwise_0/kernel',
  'conv_even': 'Pointwise_0/kernel',
  'conv_odd': 'Pointwise_1/kernel',
  'bn': 'Norm_0',
  'bn_scale': 'Norm_0/scale',
  'bn_bias': 'Norm_0/bias',
}


def load(name):
  """The arrays of a page."""
  with np.load(pathlib.Path(__file__).parent / f'{name}.npz') as file:
    return dict(file)


def h(t, seed, amplitude, shape):
  """The pages' formula, in C order of a shape."""
  i = np.arange(1, np.prod(shape, dtype=np.int64) + 1)
  n = 7919 * i**2 + 104729 * (t + 1) * i + 15485863 * int(seed)
  return amplitude * (2 * (n % 1000003) / 1000003 - 1).reshape(shape)


def last(x):
  """Channels last."""
  return x.transpose(0, 2, 3, 1)


def batch(number, labels, seed):
  """Batch of images 16 x 16 and their labels."""
  return ready(h(number, seed + 11, 2.0, (len(labels), 3, 16, 16)), labels)


def ready(images, labels):
  """A batch from PyTorch's arrays."""
  return split.Batch(
    jnp.asarray(last(images)),
    jnp.asarray(labels, jnp.int32),
    jnp.arange(len(labels), dtype=jnp.int32),
    jnp.ones(len(labels), bool),
  )


def parameter(t, seed, name, shape):
  """Values of parameter number t of a network."""
  x = h(t, seed, AMPLITUDES[len(shape)], shape)
  return 1 + x if name.endswith('_scale') else x


def parameters(golden):
  """(name, values) of all parameters of a page's network."""
  names, shapes = golden['net/param_names'], golden['net/param_shapes']
  for t, (name, shape) in enumerate(zip(names, shapes, strict=True)):
    shape = tuple(map(int, shape.split('x')))
    yield name, parameter(t, golden['meta/seed_s'], name, shape)


def even(golden):
  """The same of a page whose parameters have one amplitude, 0.5."""
  names, shapes = golden['net/param_readable'], golden['net/param_shapes']
  for t, (name, shape) in enumerate(zip(names, shapes, strict=True)):
    shape = tuple(map(int, shape.split('x')))
    x = h(t, golden['meta/seed_s'], 0.5, shape)
    yield name, 1 + x if name.endswith('_scale') else x


def part(tree, path, row):
  """A view of what a name stands for."""
  for name in path.split('/'):
    tree = tree[name]
  tree = np.asarray(tree)  # which JAX would compile a program to index
  return tree if tree.ndim == 1 else tree[row]


def put(own, x):
  """Writes an array of PyTorch's layout into a view."""
  own[...] = x.transpose(AXES[x.ndim]).reshape(own.shape)


def fill(net, values, place, rest=np.nan):
  """A network's variables with (name, values) of each parameter.

  Without `rest`, which all others have, there must be none.
  """
  shape = len(net.space.edges), columns.count(net)
  mix = {kind: jnp.zeros(shape) for kind in net.space.kinds}
  variables = sizing.variables(sizing.shapes(net, (16, 16, 3), mix), 0)
  params = jax.tree.map(lambda x: np.full(x.shape, np.nan), variables['params'])
  for name, x in values:
    own = part(params, *place(name))
    assert np.isnan(own).all()
    put(own, x)
  params = jax.tree.map(lambda x: np.where(np.isnan(x), rest, x), params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
  stats = jax.tree.map(np.float64, variables['batch_stats'])
  return jax.device_put({'params': params, 'batch_stats': stats})


def darts(name):
  """Path of the variable that holds a part of the supernet, and its row."""
  first, *middle, leaf = name.split('/')
  if not middle:
    leaf = 'kernel' if leaf == 'conv' else LAYER[leaf]
    return f'{first}/{leaf}', 0
  if len(middle) == 1:
    return f'{first}/{middle[0]}/{LAYER[leaf]}', 0
  space, edge = SPACES['darts'], int(middle[0].removeprefix('edge'))
  source, _ = space.edges[edge]
  leaving = space.leaving(source)
  path, row = mixed(middle[1], leaf, leaving.index(edge), len(leaving))
  return f'{first}/from{source}/{path}', row


def beside(name):
  """The same where a mix has columns besides the primitives'."""
  path, row = darts(name)
  first, *middle = path.split('/')
  if middle[0].startswith('from') and middle[1] != 'auxiliary':
    middle.insert(1, 'mixed')
  return '/'.join([first, *middle]), row


def mixed(operation, leaf, edge, edges):
  """The same within `ops.MixedOp`, of one of so many edges."""
  if operation == 'auxiliary':
    return f'auxiliary/{LAYER[leaf]}', edge
  if operation in ops.POOLS:
    return 'pools', ops.POOLS.index(operation)
  if operation == 'skip_connect':
    return f'skip/{LAYER[leaf]}', edge
  size, layer = operation[-3:], leaf[:2]
  block = {'': 'once', '1': 'first', '2': 'second'}[leaf[2:]]
  if layer == 'dw':
    dilated = '_dilated' if block == 'once' else ''
    return f'{block}/depthwise_{size}{dilated}', edge
  stacked = edge + edges * ['3x3', '5x5'].index(size)
  own = {'pw': 'pointwise', 'bn': 'Norm_0'}[layer]
  return f'{block}/{own}', stacked


def nasbench201(name):
  """Path of the variable that holds a part of the supernet, and its row."""
  first, *middle, leaf = name.split('/')
  if not middle:
    path = f'{first}/{LAYER[leaf]}'
    return path.replace('last/Norm_0', 'norm'), 0
  number = int(first.removeprefix('cell'))
  if number % 2:
    own = {'conv_a': 'first', 'conv_b': 'second'}.get(middle[0], middle[0])
    path = f'residual{(number + 1) // 2}/{own}/{LAYER[leaf]}'
    return path.replace('/Norm_0', '_norm'), 0
  target, source = map(int, middle[0].split('<-'))
  space = SPACES['nasbench201']
  leaving = space.leaving(source)
  edge = leaving.index(space.edges.index((source, target)))
  path, row = convolution(middle[1], leaf, edge, len(leaving))
  return f'stage{number // 2}_cell0/from{source}/{path}', row


def convolution(operation, leaf, edge, edges):
  """The same within `nasbench201.MixedOp`, of one of so many edges."""
  if leaf.startswith('bn'):
    stacked = edge + edges * list(cells.CONVOLUTIONS).index(operation)
    return LAYER[leaf], stacked
  return f'{operation}/{leaf}', edge


def layout(leaf, own):
  """PyTorch's shape of a parameter whose view has this one."""
  if leaf.startswith('dw'):
    return own[-1], 1, *own[:2]
  if leaf.startswith('b'):  # a bias, or of a normalisation
    return own[-1:]
  return (*own[::-1], 1, 1)[:4]


def alone(golden, page, op, place, seed, number, how=None):
  """Operation o on edge o, of edges that share their input, is the page's.

  In values and all gradients; the other operations of an edge hold noise.
  """
  images = jnp.asarray(
    last(h(0, golden['meta/seed_s'] + 11, 2.0, (2, 4, 8, 8)))
  )
  ctx = ops.context(images, True, None, how, False)
  plain = ops.context(images, True, None, 'grouped', False)
  x, mix = images[None], jnp.eye(len(op.primitives))
  shapes = jax.eval_shape(op.init, KEY, x, mix, plain)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda s: rng.standard_normal(s.shape), shapes['params']
  )
  stats = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes['batch_stats'])
  places, counts = [], dict.fromkeys(op.primitives, 0)
  for full in golden[f'{page}/param_names']:
    name, leaf = full.split('/')
    edge = op.primitives.index(name)
    own = part(params, *place(name, leaf, edge, len(mix)))
    shape = layout(leaf, own.shape)
    put(own, parameter(counts[name], seed, leaf, shape))
    counts[name] += 1
    places.append((edge, place(name, leaf, edge, len(mix))))

  @jax.jit
  def back(cotangent):
    def out(params, x):
      variables = {'params': params, 'batch_stats': stats}
      return op.apply(variables, x, mix, ctx, mutable=['batch_stats'])[0]

    y, pull = jax.vjp(out, params, x)
    return y, *pull(cotangent)

  y, norms = golden[f'{page}/y'], golden[f'{page}/param_grad_l2']
  r = last(h(number, golden['meta/seed_s'] + 13, 1.0, y.shape[1:]))
  for n, expected in enumerate(golden[f'{page}/grad_x']):
    got, of_params, of_x = back(jnp.zeros((len(y), *r.shape)).at[n].set(r))
    close(got, y.transpose(0, 1, 3, 4, 2))
    close(of_x[0], last(expected))
    size = [np.linalg.norm(part(of_params, *where)) for _, where in places]
    own = [edge == n for edge, _ in places]
    np.testing.assert_allclose(size, norms * own, rtol=1e-9, atol=ROUNDING)


def watched(net, variables, batch, mix):
  """Logits and the cells' outputs, in training."""
  logits, seen = net.apply(
    variables,
    batch.image,
    mix,
    train=True,
    capture_intermediates=lambda part, _: isinstance(part, supernet.Cell),
    mutable=['batch_stats', 'intermediates'],
  )
  cells = seen['intermediates']
  return logits, [cells[f'cell{n}']['__call__'][0] for n in range(net.layers)]


@functools.cache  # equal parts compile once
def setup(net, method='darts', nesterov=False, turn='alternate'):
  """A search's parts."""
  return dataclasses.replace(
    toys.setup(weight=0.0),
    net=net,
    method=dataclasses.replace(methods.make(method, {}), turn=turn),
    nesterov=nesterov,
  )


step = jax.jit(search.step)
forward = jax.jit(search.forward, static_argnums=0)


def weights(state, train, valid, parts):
  """The weight step alone: the alphas rest."""
  resting = dataclasses.replace(parts, alpha_warmup=1)
  return step(state, KEY, train, valid, resting)


def state(parts, variables, alphas, decay, clip):
  """A search's first state."""
  mask = {kind: jnp.ones(a.shape, bool) for kind, a in alphas.items()}
  rates = toys.RATES | {
    **{'weights.lr': LR, 'weights.lr_min': LR, 'weights.momentum': MOMENTUM},
    **{'weights.decay': decay, 'weights.clip': clip},
    **{'alphas.lr': ALPHAS_RATE, 'alphas.b1': BETA, 'alphas.b2': 0.999},
    'alphas.decay': ALPHAS_DECAY,
  }
  arch = archs.Arch(alphas, mask)
  return search.init(parts, variables, arch, rates, 1, 10)


def seen(before, after):
  """The alphas' gradient between two states: Adam's first moments hold it."""
  old, new = (
    optax.tree_utils.tree_get(x.opt, 'mu')['alphas'] for x in (before, after)
  )
  return jax.tree.map(
    lambda m, n, a: (n - BETA * m) / (1 - BETA) - ALPHAS_DECAY * a,
    old,
    new,
    before.params['alphas'],
  )


def sums(params, names, place):
  """[names, 2] sum, and sum of squares, of each parameter."""
  own = [part(params, *place(name)) for name in names]
  return np.array([[x.sum(), (x**2).sum()] for x in map(np.asarray, own)])


def alike(golden, value, logits, cells):
  """Compares a network's loss, logits and cells with a page's."""
  close(value, golden['net/loss'])
  close(logits, golden['net/logits'])
  for out, shape in zip(cells, golden['net/cell_out_shape'], strict=True):
    assert out.shape == (1, *shape[[0, 2, 3, 1]])
  close([np.linalg.norm(out) for out in cells], golden['net/cell_out_l2'])
  means = np.concatenate([out.mean(axis=(0, 1, 2, 3)) for out in cells])
  told = golden['net/cell_out_channel_mean']  # often normalised, to 0
  np.testing.assert_allclose(means, told, rtol=0, atol=1e-9)


def close(got, expected, tolerance=1e-9):
  """Equal up to a share of the largest number."""
  got, expected = np.asarray(got), np.asarray(expected)
  limit = tolerance * np.abs(expected).max()
  np.testing.assert_allclose(got, expected, rtol=0, atol=limit)

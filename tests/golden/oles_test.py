"""OLES against PasaLab/oles: what is scored, when it stops, a whole loop."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods import instances
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests import toys
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('oles')
SPACE = SPACES['darts']
METHOD = methods.make(
  'oles',
  {
    'released': True,
    'threshold': float(GOLDEN['set/threshold']),
    'window': int(GOLDEN['set/count_limit']),
  },
)
STEPS = int(GOLDEN['loop/steps'])


def kernels(name, part):
  """[T, 1, ...] of a tensor of `seq`, in our layout."""
  x = GOLDEN[f'{name}/{part}']
  if x.shape[2] == 1:  # depthwise
    return x[:, :, 0].transpose(0, 2, 3, 1)[:, None]
  return x[..., 0, 0].transpose(0, 2, 1)[:, None]


def sequence():
  """Both gradients of each tensor, and whose rows they are."""
  leaves, owners = [], []
  for edge, name in enumerate(GOLDEN['seq/op_names']):
    tensors = [
      key.removesuffix('/g_train')
      for key in GOLDEN
      if key.startswith(f'seq/{name}/') and key.endswith('g_train')
    ]
    for tensor in tensors:
      leaves.append([kernels(tensor, part) for part in ('g_train', 'g_valid')])
      column = SPACE.primitives.index('dil_conv_3x3')
      own = np.array([edge]), np.array([column])
      owners.append(instances.Rows('normal', 0, *own))
  return leaves, owners, column


def test_scores_and_decisions():
  """Of gradients that are given, step after step."""
  leaves, owners, column = sequence()
  net = supernet.Supernet(SPACE, 10, layers=1)
  own = METHOD.init(np.random.default_rng(0), net, 0.0).own
  # As a cell of kind `normal`, of which this net has none.
  tables = {'normal': jnp.zeros((1, *SPACE.shape))}
  own |= {'sums': tables, 'frozen': {'normal': tables['normal'] > 0}}
  step = jax.jit(lambda own, both, now: METHOD.observe(own, both, owners, now))
  rows = np.arange(len(GOLDEN['seq/op_names']))
  before = np.zeros(len(rows))
  for t in range(len(GOLDEN['seq/score'])):
    both = {
      'train': [h[t - 1] * (t > 0) for h, _ in leaves],
      'valid': [v[t] for _, v in leaves],
    }
    now = given.now(0, 1)._replace(step=jnp.asarray(t))
    own = step(own, both, now)
    sums = own['sums']['normal'][0, rows, column]
    frozen = np.asarray(own['frozen']['normal'][0, rows, column])
    np.testing.assert_array_equal(frozen, GOLDEN['seq/frozen'][t])
    told = GOLDEN['seq/sum'][t]
    np.testing.assert_allclose(sums, told, rtol=0, atol=1e-10)
    counts = np.where(frozen, 0, own['count'])
    np.testing.assert_array_equal(counts, GOLDEN['seq/count'][t])
    scored = np.isfinite(GOLDEN['seq/score'][t]) & (counts > 0)
    np.testing.assert_allclose(
      (sums - before)[scored], GOLDEN['seq/score'][t][scored], atol=1e-10
    )
    before = np.asarray(sums)
  assert frozen.any() and not frozen.all()


class Cell(nn.Module):
  """One edge of all primitives."""

  primitives: tuple[str, ...]

  @nn.compact
  def __call__(self, x, mix, ctx):
    op = ops.MixedOp(self.primitives, x.shape[-1], 1, name='from0')
    return op(x, mix, ctx)


class Net(supernet.Base):
  """The page's: it, and a classifier."""

  cells = ('normal',)

  @nn.compact
  def __call__(self, images, mix, train=False, present=None):
    ctx = ops.context(images, train, present, self.depthwise, self.bf16)
    cell = Cell(self.space.primitives, name='cell0')
    x = cell(images[None], mix['normal'], ctx)
    return ops.Classifier(self.classes, name='classifier')(x)


def place(name):
  """Path and row of a page's parameter."""
  operation, leaf = name.split('/')
  if operation == 'classifier':
    return name, 0
  path, row = filling.mixed(operation, leaf, 0, 1)
  return f'cell0/from0/{path}', row


def begun(parts):
  """The state that the page's loop begins with."""
  net = parts.net
  mix = {'normal': jnp.zeros(net.space.shape)}
  image = filling.last(GOLDEN['loop/x_train'][0]).shape[1:]
  variables = sizing.variables(sizing.shapes(net, image, mix), 0)
  variables = jax.tree.map(lambda x: np.array(x, np.float64), variables)
  for name in GOLDEN['loop/param_names']:
    own = filling.part(variables['params'], *place(name))
    filling.put(own, GOLDEN[f'loop/w0/{name}'])
  arch = METHOD.init(np.random.default_rng(0), net, 0.0)
  arch = arch._replace(alphas={'normal': GOLDEN['loop/alpha0'][None]})
  lr, clip = float(GOLDEN['loop/lr']), float(GOLDEN['loop/clip'])
  rates = toys.RATES | {
    **{'weights.lr': lr, 'weights.lr_min': lr, 'weights.clip': clip},
    'weights.momentum': GOLDEN['set/momentum'],
    'weights.decay': GOLDEN['set/weight_decay'],
    'alphas.lr': GOLDEN['set/arch_lr'],
    'alphas.b1': GOLDEN['set/arch_beta1'],
    'alphas.b2': GOLDEN['set/arch_beta2'],
    'alphas.decay': GOLDEN['set/arch_weight_decay'],
  }
  return search.init(
    parts,
    *(jax.tree.map(jnp.asarray, variables), arch, rates, 8, net.classes),
  )


def test_loop():
  """The released loop of 66 steps, in which weights come to stand still."""
  space = spaces.Space('one', SPACE.primitives, 1, 1, ('normal',))
  parts = dataclasses.replace(
    toys.setup(weight=0.0),
    net=Net(space, len(GOLDEN['loop/w0/classifier/bias'])),
    method=METHOD,
    steps=STEPS,
  )
  state, loss = begun(parts), 0.0
  scored = [SPACE.primitives.index(n) for n in GOLDEN['loop/scored_ops']]
  for t in range(STEPS):
    batches = [
      filling.ready(
        GOLDEN[f'loop/x_{of}'][t % 5], GOLDEN[f'loop/y_{of}'][t % 5]
      )
      for of in ('train', 'valid')
    ]
    # Theirs clips by the norm + 1e-6, ours by the norm.
    norm = GOLDEN['loop/stay/clipnorm'][t]
    limit = jnp.asarray(GOLDEN['loop/clip'] * norm / (norm + 1e-6))
    state = state._replace(rates=state.rates | {'weights.clip': limit})
    state = filling.step(state, filling.KEY, *batches, parts)
    told = {
      name: GOLDEN[f'loop/stay/{name}'][t]
      for name in ('alpha', 'sum', 'count', 'frozen', 'train_loss', 'w_l2')
    }
    filling.close(state.params['alphas']['normal'][0], told['alpha'], 1e-10)
    own = state.own
    frozen = own['frozen']['normal'][0, 0, np.array(scored)]
    np.testing.assert_array_equal(frozen, told['frozen'])
    sums = own['sums']['normal'][0, 0, np.array(scored)]
    np.testing.assert_allclose(sums, told['sum'], rtol=0, atol=1e-10)
    counts = np.where(frozen, 0, own['count'])
    np.testing.assert_array_equal(counts, told['count'])
    parameters = jax.device_get(state.params['weights'])
    size = [
      np.linalg.norm(filling.part(parameters, *place(name)))
      for name in GOLDEN['loop/param_names']
    ]
    np.testing.assert_allclose(size, told['w_l2'], rtol=1e-10)
    own, loss = float(state.sums.loss) - loss, float(state.sums.loss)
    assert own / 8 == pytest.approx(told['train_loss'], rel=1e-10)
  trace = optax.tree_utils.tree_get(state.opt, 'trace')['weights']
  for name in GOLDEN['loop/param_names']:
    for part, tree in (('w', parameters), ('momentum', jax.device_get(trace))):
      final = f'loop/stay/{part}_final/{name}'
      if final in GOLDEN:
        found = np.asarray(filling.part(tree, *place(name)))
        whole = np.zeros_like(found)
        filling.put(whole, GOLDEN[final])
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-10)


def test_genotype():
  alphas = {k: GOLDEN[f'geno/alpha_{k}'] for k in SPACE.kinds}
  arch = given.arch(alphas)
  mix = METHOD.relax(arch, None)
  found = METHOD.discretize(SPACE, arch, mix)
  for kind, graph in found.graphs.items():
    told = GOLDEN[f'geno/{kind}']
    live = told[
      told[:, 0] > 0
    ]  # `none` takes an edge's place, and is not there
    np.testing.assert_array_equal(given.numbers(SPACE, graph), live)


def test_schedule():
  epochs = int(GOLDEN['set/epochs'])
  lr = [
    optimizers.early_cosine(GOLDEN['set/lr'], GOLDEN['set/lr_min'], e, epochs)
    for e in range(epochs)
  ]
  np.testing.assert_allclose(lr, GOLDEN['sched/lr_w'], rtol=1e-12)


def test_what_is_scored():
  """The convolutions of the whole supernet, an instance a cell and edge."""
  net = supernet.Supernet(SPACE, 10)
  mix = {kind: jnp.zeros(SPACE.shape) for kind in SPACE.kinds}
  params = sizing.shapes(net, (32, 32, 3), mix)['params']
  found, tensors, weights = set(), 0, 0
  leaves = jax.tree.leaves(params)
  owners = instances.owners(net, params)
  for leaf, rows in zip(leaves, owners, strict=True):
    if rows is None:
      continue
    for edge, column in zip(rows.edges, rows.primitives, strict=True):
      if 'conv' in SPACE.primitives[column]:
        found.add((rows.kind, rows.cell, int(edge), int(column)))
        tensors, weights = tensors + 1, weights + leaf.size // len(leaf)
  assert len(found) == GOLDEN['count/scored_ops_C16_L8']
  assert tensors == GOLDEN['count/scored_tensors_C16_L8']
  assert weights == GOLDEN['count/scored_weights_C16_L8']

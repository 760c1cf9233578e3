"""PC-DARTS's mixed operations, edge weights and supernet against the release.

Its network for ImageNet has a stem that the supernet has not.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods.pc_darts import edge_weights
from sdnas_jax.networks import columns
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import totals
from tests.golden import filling
from tests.golden import given
from tests.golden import pytorch

GOLDEN = filling.load('pc_darts')
SPACE = SPACES['darts']
METHOD = methods.make('pc_darts', {})
PARTIAL = METHOD.model['partial']
RATE = 6e-4
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-9)


def test_the_shuffle():
  for name in ('C16_k4', 'C8_k4', 'C16_k2'):
    told, k = GOLDEN[f'shuffle/{name}'], int(name[-1])
    x = jnp.arange(len(told), dtype=float)[None, None, None, None]
    front = len(told) // k
    y = columns.beside(x[..., :front], x[..., front:], jnp.ones(1), 1, k)
    np.testing.assert_array_equal(y.ravel(), told)


@pytest.mark.parametrize('stride', [1, 2])
def test_a_mixed_operation(stride):
  case = f'mix_s{stride}'
  x = jnp.asarray(filling.last(GOLDEN['mix/x']))[None]
  channels, names = x.shape[-1], SPACE.primitives
  op = columns.MixedOp(names, channels, stride, PARTIAL)
  ctx = ops.context(x[0], True, None, 'grouped', False)
  params, stats, places = filled(op, x, ctx, case)
  logits, r = (jnp.asarray(GOLDEN[f'{case}/{n}']) for n in ('logits', 'r'))

  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
  def loss(params, p, x):
    variables = {'params': params, 'batch_stats': stats}
    mix = jnp.append(p, 1.0)[None]  # the channels that pass by
    y, _ = op.apply(variables, x, mix, ctx, mutable=['batch_stats'])
    return jnp.sum(r.transpose(0, 2, 3, 1) * y[0]), y[0]

  p = jax.nn.softmax(logits)
  (_, y), (of_params, of_p, of_x) = jax.jit(loss)(params, p, x)
  close(p, GOLDEN[f'{case}/p'])
  close(y, filling.last(GOLDEN[f'{case}/y']))
  close(of_p, GOLDEN[f'{case}/grad_p'])
  close(
    jax.vjp(jax.nn.softmax, logits)[1](of_p)[0], GOLDEN[f'{case}/grad_logits']
  )
  close(of_x[0], filling.last(GOLDEN[f'{case}/grad_x']))
  for name, place in places.items():
    told = GOLDEN[f'{case}/grad_param/{name}']
    found = filling.part(of_params, *place)
    close(pytorch.flat(found, told.shape), told.ravel())
  count = GOLDEN[f'count/mixedop_C{channels}_k{PARTIAL}_stride{stride}']
  assert sizing.size(params) == count


def filled(op, x, ctx, case):
  """The parameters of one edge's operations, and where each is."""
  mix = jnp.ones((1, len(op.primitives) + 1))
  shapes = jax.eval_shape(op.init, jax.random.key(0), x, mix, ctx)
  params, stats = (
    jax.tree.map(lambda s: np.zeros(s.shape), shapes[of])
    for of in ('params', 'batch_stats')
  )
  places = {}
  for name, values in GOLDEN.items():
    if name.startswith(f'{case}/param/'):
      name = name.removeprefix(f'{case}/param/')
      path, row = filling.mixed(*name.split('/'), 0, 1)
      places[name] = f'mixed/{path}', row
      filling.put(filling.part(params, *places[name]), values)
  return params, stats, places


def architecture(part):
  """The logits of a part of the page."""
  alphas = {k: jnp.asarray(GOLDEN[f'{part}/alpha_{k}']) for k in SPACE.kinds}
  betas = {
    f'{k}_betas': jnp.asarray(GOLDEN[f'{part}/beta_{k}']) for k in SPACE.kinds
  }
  arch = METHOD.init(np.random.default_rng(0), given.net(SPACE), 0.0)
  assert arch.alphas.keys() == (alphas | betas).keys()
  return arch._replace(alphas=alphas | betas)


@pytest.mark.parametrize('beta', [True, False])
def test_edge_weights_and_genotypes(beta):
  arch = architecture('edge')
  if not beta:
    flat = {f'{k}_betas': jnp.zeros(len(SPACE.edges)) for k in SPACE.kinds}
    arch = arch._replace(alphas=arch.alphas | flat)
  mix = {k: np.asarray(p) for k, p in METHOD.relax(arch, None).items()}
  own = len(SPACE.primitives)
  for kind, p in mix.items():
    if beta:
      close(p[:, :own], GOLDEN[f'edge/product_{kind}'])
      close(p[:, own], GOLDEN[f'edge/edge_weight_{kind}'])
      close(p[:, :own] / p[:, own:], GOLDEN[f'edge/p_{kind}'])
      logits = arch.alphas[f'{kind}_betas']
      found = edge_weights(logits, arch.own['targets'])
      close(found, GOLDEN[f'edge/edge_weight_{kind}'])
  graphs = METHOD.discretize(SPACE, arch, mix).graphs
  for kind, graph in graphs.items():
    told = GOLDEN[f'edge/genotype_{kind}' + '_with_beta_zero' * (not beta)]
    np.testing.assert_array_equal(given.numbers(SPACE, graph), told)
    np.testing.assert_array_equal(graph.outputs, GOLDEN['edge/concat'])


@pytest.mark.parametrize(
  'name, classes, fields',
  [
    ('cifar10_C16_L8_k4', 10, {}),
    ('cifar100_C16_L8_k4', 100, {}),
    ('tiny_C8_L5_k4_classes10', 10, {'channels': 8, 'layers': 5}),
  ],
)
def test_sizes(name, classes, fields):
  net = supernet.Supernet(SPACE, classes, partial=PARTIAL, **fields)
  shape = len(SPACE.edges), columns.count(net)
  mix = {kind: np.ones(shape, np.float32) for kind in SPACE.kinds}
  params = sizing.shapes(net, (32, 32, 3), mix)['params']
  assert sizing.size(params) == GOLDEN[f'count/{name}']


def test_the_supernet_and_three_steps_of_its_architecture():
  net = supernet.Supernet(SPACE, 10, channels=8, layers=5, partial=PARTIAL)
  variables = filling.fill(net, filling.even(GOLDEN), filling.beside)
  batch = filling.ready(GOLDEN['net/x'], GOLDEN['net/labels'])
  first = architecture('net')

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(w, alphas):
    mix = METHOD.relax(first._replace(alphas=alphas), None)
    filled = variables | {'params': w}
    logits, cells = filling.watched(net, filled, batch, mix)
    return totals.cross_entropy(logits, batch), (logits, cells)

  w, alphas = variables['params'], first.alphas
  (value, (logits, cells)), (of_w, grads) = loss(w, alphas)
  filling.alike(GOLDEN, value, logits, cells)
  for kind in SPACE.kinds:
    close(grads[kind], GOLDEN[f'net/grad_alpha_{kind}'])
    close(grads[f'{kind}_betas'], GOLDEN[f'net/grad_beta_{kind}'])
  names = GOLDEN['net/param_readable']
  squares = filling.sums(of_w, names, filling.beside)[:, 1]
  close(np.sqrt(squares), GOLDEN['net/param_grad_l2'])
  filling.close(np.sqrt(squares.sum()), GOLDEN['net/param_grad_global_l2'])

  tx = optimizers.adam(RATE, filling.BETA, 0.999, filling.ALPHAS_DECAY)
  opt = tx.init(alphas)
  for t in range(len(GOLDEN['net/adam3_alpha_normal'])):
    _, (_, grads) = loss(w, alphas)
    updates, opt = tx.update(grads, opt, alphas)
    alphas = optax.apply_updates(alphas, updates)
    for kind in SPACE.kinds:
      close(alphas[kind], GOLDEN[f'net/adam3_alpha_{kind}'][t])
      close(alphas[f'{kind}_betas'], GOLDEN[f'net/adam3_beta_{kind}'][t])

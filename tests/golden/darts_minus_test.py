"""DARTS-'s schedules, mixed operations and supernet against the release."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.methods.darts_minus import DECAYS
from sdnas_jax.networks import columns
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests.golden import filling
from tests.golden import given
from tests.golden import pytorch

GOLDEN = filling.load('darts_minus')
SPACE = SPACES['darts']
EPOCHS = 50  # of the schedules
BETAS = 'beta1', 'beta_e19', 'beta0'
SETTINGS = {
  'default': {},
  'base2_stop30': {'beta': 'base2', 'stop': 30},
  'base2_start10': {'beta': 'base2', 'start': 10},
}
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-10)


def relaxed(alphas, epoch, **options):
  """The mix of an epoch."""
  method = methods.make('darts_minus', options)
  return method.relax(given.arch(alphas), given.now(epoch, EPOCHS))


@pytest.mark.parametrize('decay', DECAYS)
@pytest.mark.parametrize('setting', SETTINGS)
def test_schedules(setting, decay):
  options = dict(SETTINGS[setting])
  if 'beta' in options:
    options['beta'] = float(GOLDEN[f'schedule_{options["beta"]}'])
  alphas = {'normal': np.zeros(SPACE.shape)}
  told = GOLDEN[f'schedule_{setting}_{decay}']
  found = [
    relaxed(alphas, e, decay=decay, **options)['normal'][0, -1]
    for e in range(len(told))
  ]
  close(found, told)


def epoch(beta):
  """When the auxiliary skip weighs so much."""
  return EPOCHS * (1 - GOLDEN[f'mixed_s1_{beta}_value'])


@pytest.mark.parametrize('stride', [1, 2])
def test_a_mixed_operation(stride):
  case, names = f'mixed_s{stride}', SPACE.primitives
  assert list(names) == json.loads(str(GOLDEN['op_names']))
  x = jnp.asarray(filling.last(GOLDEN['mixed_x']))[None]
  op = columns.MixedOp(names, x.shape[-1], stride, auxiliary=True)
  ctx = ops.context(x[0], True, None, 'grouped', False)
  mix = jnp.ones((1, len(names) + 1))
  shapes = jax.eval_shape(op.init, jax.random.key(0), x, mix, ctx)
  params = jax.tree.map(lambda s: np.full(s.shape, np.nan), shapes['params'])
  listed = []
  for name, values in pytorch.sines(GOLDEN[f'{case}_param_names']):
    own = filling.part(params, *place(name))
    filling.put(own, values)
    listed.append((name, values.shape))
  assert sizing.size(params) == GOLDEN[f'{case}_beta1_grad_params'].size
  stats = jax.tree.map_with_path(
    lambda path, s: jnp.full(s.shape, float(path[-1].key == 'var')),
    shapes['batch_stats'],
  )
  alphas = jnp.asarray(GOLDEN['mixed_alpha'])
  g = jnp.asarray(filling.last(GOLDEN[f'{case}_cotangent']))

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
  def loss(params, mix, x):
    variables = {'params': params, 'batch_stats': stats}
    y, new = op.apply(variables, x, mix, ctx, mutable=['batch_stats'])
    return jnp.sum(g * y[0]), (y[0], new['batch_stats'])

  outs, after = {}, {}
  for beta in BETAS:
    told = {
      of: GOLDEN[f'{case}_{beta}_{of}']
      for of in (
        'value',
        'out',
        'grad_x',
        'grad_p',
        'grad_alpha',
        'grad_params',
      )
    }
    mix = relaxed({'normal': alphas[None]}, epoch(beta))['normal']
    close(mix[0], np.append(GOLDEN['mixed_p'], told['value']))
    (_, (y, after[beta])), (of_params, of_mix, of_x) = loss(params, mix, x)
    outs[beta] = y
    close(y, filling.last(told['out']))
    close(of_x[0], filling.last(told['grad_x']))
    of_p = of_mix[0, :-1]
    close(of_p, told['grad_p'])
    pull = jax.vjp(jax.nn.softmax, alphas)[1]
    close(pull(of_p)[0], told['grad_alpha'])
    found = [
      pytorch.flat(filling.part(of_params, *place(name)), shape)
      for name, shape in listed
    ]
    close(np.concatenate(found), told['grad_params'])
  if stride == 1:
    value = GOLDEN[f'{case}_beta_e19_value']
    close(outs['beta_e19'] - outs['beta0'], value * x[0])
  stats = running(case, after['beta_e19'], y.size // y.shape[-1])
  mix = relaxed({'normal': alphas[None]}, epoch('beta_e19'))['normal']
  usual = dataclasses.replace(ctx, train=False)
  y = jax.jit(lambda *at: op.apply(*at, usual))(
    {'params': params, 'batch_stats': stats}, x, mix
  )
  told = GOLDEN[f'{case}_beta_e19_out_eval_after']
  close(y[0], filling.last(told))


def running(case, stats, count):
  """Compares the running statistics and returns theirs."""
  names = json.loads(str(GOLDEN[f'{case}_running_names']))
  told = GOLDEN[f'{case}_running_after']
  theirs = jax.tree.map(np.array, stats)
  for name, expected in zip(names, told, strict=True):
    own, of = place(name), name.rsplit('_', 1)[1]
    found = filling.part(theirs, f'{own[0]}/{of}', own[1])
    biased = found.ravel().copy()
    found[...] = expected
    if of == 'var':  # theirs is unbiased
      biased = 0.9 + (biased - 0.9) * count / (count - 1)
    close(biased, expected)
  return theirs


def place(name):
  """Where we keep a mixed operation's part."""
  own = pytorch.operation(name, SPACE.primitives)
  path, row = filling.mixed(*own, 0, 1)
  return path if own[0] == 'auxiliary' else f'mixed/{path}', row


def test_the_supernet():
  net = supernet.Supernet(SPACE, 10, channels=4, layers=3, auxiliary=True)
  values = [
    (pytorch.supernet(name, SPACE.primitives), x)
    for name, x in pytorch.sines(GOLDEN['net_param_names'])
  ]
  variables = filling.fill(net, values, filling.beside)
  assert sizing.size(variables['params']) == GOLDEN['net_param_count']
  batch = filling.ready(GOLDEN['net_x'], np.array([3, 7]))
  alphas = {k: jnp.asarray(GOLDEN[f'net_alpha_{k}']) for k in SPACE.kinds}

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(alphas, epoch):
    mix = relaxed(alphas, epoch)
    w, stats = variables['params'], variables['batch_stats']
    logits, _ = search.forward(net, w, stats, batch, mix)
    return totals.cross_entropy(logits, batch), logits

  for beta in BETAS:
    (value, logits), grads = loss(alphas, epoch(beta))
    close(logits, GOLDEN[f'net_{beta}_logits'])
    close(value, GOLDEN[f'net_{beta}_loss'])
    for kind in SPACE.kinds:
      close(grads[kind], GOLDEN[f'net_{beta}_grad_alpha_{kind}'])


@pytest.mark.parametrize('auxiliary', [True, False])
def test_sizes(auxiliary):
  net = supernet.Supernet(SPACE, 10, auxiliary=auxiliary)
  shape = len(SPACE.edges), columns.count(net)
  mix = {kind: np.ones(shape, np.float32) for kind in SPACE.kinds}
  params = sizing.shapes(net, (32, 32, 3), mix)['params']
  name = 'param_count_c10_c16_l8' + '_without_auxiliary' * (not auxiliary)
  full = json.loads(str(GOLDEN['space_names'])).index('s5')
  assert sizing.size(params) == GOLDEN[name][full]


def test_the_genotype_knows_nothing_of_it():
  method = methods.make('darts_minus', {})
  alphas = {k: GOLDEN[f'genotype_alpha_{k}'] for k in SPACE.kinds}
  arch, now = given.arch(alphas), given.now(0, EPOCHS)
  mix = {k: np.asarray(p) for k, p in method.relax(arch, now).items()}
  for kind, graph in method.discretize(SPACE, arch, mix).graphs.items():
    told = GOLDEN[f'genotype_{kind}']
    np.testing.assert_array_equal(given.numbers(SPACE, graph), told)

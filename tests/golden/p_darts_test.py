"""P-DARTS's stages, masks, dropout and skip limit against chenxin061/pdarts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import totals
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('p_darts')
SPACE = SPACES['darts']
STAGES = methods.make('p_darts', {}).stages(SPACE)
KINDS = SPACE.kinds


def method(stage, **more):
  """Of a stage, by its options."""
  options = {
    name.removeprefix('options.'): value
    for name, value in STAGES[stage - 1].items()
    if name.startswith('options.')
  }
  return methods.make('p_darts', options | more)


def architecture(stage):
  """At a stage's end: all operations, of which the dropped ones are dead."""
  alphas, mask = {}, {}
  for kind in KINDS:
    own = GOLDEN[f'stage{stage}/alpha_{kind}']
    before = GOLDEN.get(f'stage{stage - 1}/kept_{kind}')
    mask[kind] = np.ones(SPACE.shape, bool) if before is None else before
    alphas[kind] = np.full(SPACE.shape, 9.0)  # what is dead has no say
    alphas[kind][mask[kind]] = own.ravel()
  return given.arch(alphas, mask)


@pytest.mark.parametrize('stage', [1, 2, 3])
def test_what_a_stage_leaves(stage):
  arch, epochs = architecture(stage), STAGES[stage - 1]['epochs']
  own = method(stage)
  assert epochs == GOLDEN['dropout/rate'].shape[1]
  assert own.revise(given.past([{}] * (epochs - 1), epochs), arch, None) is None
  revision = own.revise(given.past([{}] * epochs, epochs), arch, None)
  for kind in KINDS:
    told = GOLDEN[f'stage{stage}/kept_{kind}']
    np.testing.assert_array_equal(revision.arch.mask[kind], told)


@pytest.mark.parametrize('stage', [1, 2, 3])
def test_dropout_and_when_alphas_move(stage):
  told = GOLDEN['dropout/rate'][stage - 1]
  epochs = np.arange(len(told))
  mix = method(stage).sample(
    None, architecture(stage), given.now(epochs, len(told)), 'weights'
  )
  np.testing.assert_allclose(mix['skip_dropout'][1], told, rtol=1e-12)
  moves = epochs >= STAGES[stage - 1]['alphas.warmup']
  np.testing.assert_array_equal(
    moves, GOLDEN['dropout/alpha_trained'][stage - 1]
  )


@pytest.mark.parametrize('stage', [1, 2, 3])
def test_sizes(stage):
  """A stage's depth; its skips to drop, and the parameters alive in it."""
  layers = STAGES[stage - 1]['model.layers']
  assert layers == GOLDEN['count/cells'][stage - 1]
  mask = architecture(stage).mask
  net = supernet.Supernet(SPACE, classes=10, layers=layers)
  mix = {kind: np.ones(SPACE.shape, np.float32) for kind in KINDS}
  params = sizing.shapes(net, (32, 32, 3), mix)['params']
  total, dropped, skips = sizing.size(params), 0, 0
  for cell, kind in enumerate(net.cells):
    first = params[f'cell{cell}']['preprocess1']['Pointwise_0']['kernel']
    for edge, op in np.ndindex(*SPACE.shape):
      halves = kind == 'reduce' and SPACE.edges[edge][0] < SPACE.inputs
      name, alive = SPACE.primitives[op], mask[kind][edge, op]
      skips += name == 'skip_connect' and alive and not halves
      if not alive:
        dropped += numbers(name, first.shape[-1], 2 if halves else 1)
  assert skips == GOLDEN['dropout/number_of_dropout_edges'][stage - 1]
  assert total - dropped == GOLDEN['count/weights'][stage - 1]
  alphas = sum(GOLDEN[f'stage{stage}/alpha_{kind}'].size for kind in KINDS)
  logged = GOLDEN['count/weights_plus_alpha_as_logged'][stage - 1]
  assert total - dropped + alphas == logged


def numbers(name, channels, stride):
  """The parameters of an operation."""
  if name == 'skip_connect':
    return channels**2 * (stride == 2)
  if name[-3:] in ('3x3', '5x5') and 'conv' in name:
    once = channels * int(name[-1]) ** 2 + channels**2
    return 2 * once if name.startswith('sep') else once
  return 0


def genotype(arch, skips):
  """Of the third stage, as the search derives it."""
  own = method(3, skips=skips)
  mix = {k: np.asarray(p) for k, p in own.relax(arch, None).items()}
  return own.discretize(SPACE, arch, mix).graphs


def test_genotypes_by_their_limit_of_skips():
  arch, skip = architecture(3), SPACE.primitives.index('skip_connect')
  for n, most in enumerate(GOLDEN['final/M']):
    found = genotype(arch, int(most))
    normal = given.numbers(SPACE, found['normal'])
    np.testing.assert_array_equal(
      normal, GOLDEN['final/genotype_normal_by_M'][n]
    )
    assert np.sum(normal[:, 0] == skip) == GOLDEN['final/num_skip'][n]
    np.testing.assert_array_equal(
      given.numbers(SPACE, found['reduce']), GOLDEN['final/genotype_reduce']
    )
  found = genotype(arch, len(SPACE.edges))
  np.testing.assert_array_equal(
    given.numbers(SPACE, found['normal']),
    GOLDEN['final/genotype_normal_unrestricted'],
  )


def close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_skips_are_dropped_elementwise(monkeypatch):
  told = {
    name.removeprefix('skipdrop/'): x
    for name, x in GOLDEN.items()
    if name.startswith('skipdrop/')
  }
  columns = np.array([SPACE.primitives.index(op) for op in told['ops']])
  x = jnp.asarray(filling.last(told['x']))[None]
  op, r = ops.MixedOp(SPACE.primitives, x.shape[-1], 1), filling.last(told['r'])
  mask = np.isin(np.arange(len(SPACE.primitives)), columns)[None]
  ctx = ops.context(x[0], True, None, 'grouped', False)
  shapes = jax.eval_shape(op.init, jax.random.key(0), x, mask * 1.0, ctx)
  params, stats = (
    jax.tree.map(lambda s: np.ones(s.shape), shapes[of])
    for of in ('params', 'batch_stats')
  )
  for name, values in told.items():
    if name.startswith('param/'):
      _, operation, layer = name.split('/')
      place = filling.mixed(operation, layer, 0, 1)
      filling.put(filling.part(params, *place), values)
  kept = jnp.asarray(filling.last(told['keep_mask']))[None]

  def bernoulli(key, share, shape):
    assert share == 1 - told['rate'] and shape == kept.shape
    return kept

  monkeypatch.setattr(jax.random, 'bernoulli', bernoulli)

  def loss(logits):
    alphas = jnp.zeros(mask.shape).at[0, columns].set(logits)
    arch = given.arch({'normal': alphas}, {'normal': mask})
    key, now = jax.random.key(0), given.now(0, 1)
    mix = method(1).sample(key, arch, now, 'alphas')
    mix['skip_dropout'] = key, told['rate']
    variables = {'params': params, 'batch_stats': stats}
    y, _ = op.apply(
      *(variables, x, mix['normal'], ctx.dropping(mix)), mutable=['batch_stats']
    )
    return jnp.sum(r * y[0]), (y[0], mix['normal'][0, columns])

  logits = jnp.asarray(told['logits'])
  both = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (y, p)), grads = both(logits)
  close(p, told['p'])
  close(y, filling.last(told['y']))
  close(grads, told['grad_logits'])


def test_a_masked_supernet_is_the_pruned_one():
  net = supernet.Supernet(SPACE, 10, channels=4, layers=5)
  variables = filling.fill(net, filling.even(GOLDEN), filling.darts, rest=0.1)
  batch = filling.ready(GOLDEN['net/x'], GOLDEN['net/labels'])
  masks = {kind: GOLDEN[f'stage1/kept_{kind}'] for kind in KINDS}
  own = method(2)

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(w, alphas):
    tables = {
      k: jnp.zeros(SPACE.shape).at[np.nonzero(masks[k])].set(alphas[k].ravel())
      for k in KINDS
    }
    mix = own.relax(given.arch(tables, masks), None)
    filled = variables | {'params': w}
    logits, cells = filling.watched(net, filled, batch, mix)
    return totals.cross_entropy(logits, batch), (logits, cells)

  alphas = {k: jnp.asarray(GOLDEN[f'net/alpha_{k}']) for k in KINDS}
  (value, (logits, cells)), (of_w, of_alphas) = loss(
    variables['params'], alphas
  )
  filling.alike(GOLDEN, value, logits, cells)
  for kind in KINDS:
    close(of_alphas[kind], GOLDEN[f'net/grad_alpha_{kind}'])
  names = GOLDEN['net/param_readable']
  squares = filling.sums(of_w, names, filling.darts)[:, 1]
  close(np.sqrt(squares), GOLDEN['net/param_grad_l2'])
  # Nothing that was dropped has a gradient.
  total = jax.jit(optimizers.norm)(of_w)
  filling.close(total, GOLDEN['net/param_grad_global_l2'])

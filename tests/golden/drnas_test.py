"""DrNAS against xiangning-chen/DrNAS: draws, penalty, pruning, widening.

Its framework's derivatives of a draw are others than ours, equal in
expectation; and the widened statistics of a halving skip are in its order.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import search_drnas
from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import dirichlet
from sdnas_jax.methods import widening
from sdnas_jax.networks import columns
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import stages
from tests.golden import filling
from tests.golden import given
from tests.golden import pytorch

GOLDEN = filling.load('drnas')
SPACE, CELLS = SPACES['darts'], SPACES['nasbench201']
NAMES = [str(name) for name in GOLDEN['meta/primitives']]
SEARCHED = np.array([name in NAMES for name in SPACE.primitives])
close = filling.close


def whole(x, fill=0):
  """A page's table with the column of `none`, which is not searched."""
  return np.insert(np.asarray(x), SPACE.primitives.index('none'), fill, axis=-1)


def arch(alphas, masks=None):
  """Of tables of seven operations, for each kind."""
  masks = masks or {k: np.ones(np.shape(a), bool) for k, a in alphas.items()}
  tables = {k: jnp.asarray(whole(a, 5.0)) for k, a in alphas.items()}
  masks = {k: whole(m, False) for k, m in masks.items()}
  searched = {k: np.broadcast_to(SEARCHED, m.shape) for k, m in masks.items()}
  return given.arch(tables, masks, {'searched': searched})


def test_the_mean_and_what_is_left_of_a_draw():
  alphas = GOLDEN['dir/alpha']
  close(dirichlet.concentration(alphas), GOLDEN['dir/concentration'])
  found = dirichlet.mean(arch({'normal': alphas}), None)['normal']
  close(found, whole(GOLDEN['dir/mean']))
  left = dirichlet.alive(
    {'normal': GOLDEN['masked/p_full']}, {'normal': GOLDEN['prune/mask']}
  )
  close(left['normal'], GOLDEN['masked/p'])


def slopes(g, dg, c):
  """d sum(c p) / db of p = g / sum g."""
  p = g / g.sum(axis=-1, keepdims=True)
  own = c - (c * p).sum(axis=-1, keepdims=True)
  return dg * own / g.sum(axis=-1, keepdims=True)


def test_a_draw_s_derivatives_are_those_of_gamma_variates():
  c, b = GOLDEN['dir/c'], GOLDEN['dir/concentration']
  told = slopes(GOLDEN['gamma/g'], GOLDEN['gamma/dg_dconcentration'], c)
  close(told, GOLDEN['gamma/grad_concentration'])
  # The same formula at a draw of ours.
  own = given.arch({'normal': jnp.asarray(GOLDEN['dir/alpha'])})
  key = jax.random.key(1)

  def value(alphas):
    p = dirichlet.draw(key, own._replace(alphas={'normal': alphas}), None, '')
    return jnp.sum(c * p['normal']), p['normal']

  (_, p), found = jax.value_and_grad(value, has_aux=True)(own.alphas['normal'])
  (each,) = jax.random.split(key, 1)
  g = np.exp(jax.random.loggamma(each, b))
  close(p, g / g.sum(axis=-1, keepdims=True))
  dg = jax.lax.random_gamma_grad(jnp.asarray(b), g)
  slope = np.where(GOLDEN['dir/alpha'] > 0, 1, np.exp(GOLDEN['dir/alpha']))
  close(found, slopes(g, dg, c) * slope, 1e-7)


def test_derivatives_are_right_in_expectation():
  """Where the authors' estimator is another, within five deviations."""
  c, own = GOLDEN['dir/c'], given.arch({'normal': GOLDEN['dir/alpha']})

  @jax.jit
  def found(keys):
    def value(alphas, key):
      p = dirichlet.draw(key, own._replace(alphas={'normal': alphas}), None, '')
      return jnp.sum(c * p['normal'])

    alphas = jnp.asarray(GOLDEN['dir/alpha'])
    return jax.vmap(jax.grad(value), (None, 0))(alphas, keys)

  each = np.asarray(found(jax.random.split(jax.random.key(0), 4000)))
  slope = np.where(GOLDEN['dir/alpha'] > 0, 1, np.exp(GOLDEN['dir/alpha']))
  told = GOLDEN['dir/grad_concentration_of_mean_functional'] * slope
  deviation = each.std(axis=0) / np.sqrt(len(each))
  assert (np.abs(each.mean(axis=0) - told) < 5 * deviation + 1e-12).all()
  assert (np.abs(told) > 5 * deviation).any()


def test_what_is_pruned_has_no_gradient():
  own = arch(
    {'normal': GOLDEN['masked/alpha']}, {'normal': GOLDEN['prune/mask']}
  )

  def value(alphas):
    p = dirichlet.draw(
      jax.random.key(0), own._replace(alphas={'normal': alphas}), None, ''
    )
    return jnp.sum(whole(GOLDEN['dir/c']) * p['normal'])

  found = jax.grad(value)(own.alphas['normal'])
  dead = ~own.mask['normal']
  # A draw is over all, so that what is dead moves the others by rounding.
  assert np.abs(found[dead]).max() < 1e-12 < np.abs(found[~dead]).min()


def test_the_penalty():
  scale = float(GOLDEN['kl/reg_scale'])
  method = methods.make('drnas', {'kl': scale})
  own = arch({k: GOLDEN[f'kl/alpha_{k}'] for k in SPACE.kinds})
  for kind in SPACE.kinds:
    rows = dirichlet.divergence(
      dirichlet.concentration(own.alphas[kind]), own.own['searched'][kind]
    )
    close(rows, GOLDEN[f'kl/rows_{kind}'], 1e-8)

  def value(alphas, own=own, method=method):
    return method.penalty(own._replace(alphas=alphas), None, None)

  total, slope = jax.value_and_grad(value)(own.alphas)
  close(total, GOLDEN['kl/penalty'], 1e-8)
  for kind in SPACE.kinds:
    close(slope[kind], whole(GOLDEN[f'kl/penalty_grad_alpha_{kind}']), 1e-8)
  alphas = {'cell': jnp.asarray(GOLDEN['nb201/kl_alpha'])}
  searched = {'cell': np.ones(CELLS.shape, bool)}
  own = given.arch(alphas, own={'searched': searched})
  total, slope = jax.value_and_grad(functools.partial(value, own=own))(alphas)
  close(total, GOLDEN['nb201/kl_penalty'], 1e-8)
  close(slope['cell'], GOLDEN['nb201/kl_penalty_grad_alpha'], 1e-8)


@pytest.mark.parametrize('case', ['', 'negative_', 'nb201_'])
def test_pruning_at_a_stage_s_end(case):
  alphas, after, mask = (
    GOLDEN[f'prune/{case}{n}'] for n in ('alpha_before', 'alpha_after', 'mask')
  )
  method = methods.make('drnas', {'keep': int(mask[0].sum())})
  if case == 'nb201_':
    own = given.arch({'cell': alphas})
  else:
    own = arch({'cell': alphas})
    after, mask = whole(after), whole(mask, False)
  assert method.revise(given.past([{}], 2), own, None) is None
  found = method.revise(given.past([{}] * 2, 2), own, None).arch
  np.testing.assert_array_equal(found.alphas['cell'], after)
  np.testing.assert_array_equal(found.mask['cell'], mask)


def test_genotypes():
  method = methods.make('drnas', {})
  for alphas, mask, p, op, source in zip(
    *(GOLDEN[f'geno/{n}'] for n in ('alpha', 'mask', 'p', 'op', 'pred')),
    strict=True,
  ):
    own = arch(*({k: x for k in SPACE.kinds} for x in (alphas, mask)))
    close(archs.softmax(own, None)['normal'], whole(p))
    mix = jax.device_get(method.relax(own, None))
    graph = method.discretize(SPACE, own, mix).graphs['reduce']
    names = [
      [SPACE.primitives[0], *NAMES].index(o) - 1
      for n in graph.nodes
      for o, _ in n
    ]
    np.testing.assert_array_equal(names, op.ravel())
    found = [i for n in graph.nodes for _, i in n]
    np.testing.assert_array_equal(found, source.ravel())
  for alphas, mask, op in zip(
    *(GOLDEN[f'nb201/geno_{n}'] for n in ('alpha', 'mask', 'op')), strict=True
  ):
    own = given.arch({'cell': alphas}, {'cell': mask})
    mix = jax.device_get(method.relax(own, None))
    graph = method.discretize(CELLS, own, mix).graphs['cell']
    found = [CELLS.primitives.index(o) for n in graph.nodes for o, _ in n]
    np.testing.assert_array_equal(found, op)


@pytest.mark.parametrize('stride', [1, 2])
def test_a_mixed_operation(stride):
  """Channels that pass by, without weights of edges."""
  case = f'mix_s{stride}'
  x = jnp.asarray(filling.last(GOLDEN[f'{case}/x']))[None]
  op = columns.MixedOp(SPACE.primitives, x.shape[-1], stride, 6)
  ctx = ops.context(x[0], True, None, 'grouped', False)
  p = jnp.asarray(whole(GOLDEN[f'{case}/w']))[None]
  mix = jnp.append(p, jnp.ones((1, 1)), axis=1)
  shapes = jax.eval_shape(op.init, filling.KEY, x, mix, ctx)
  variables = jax.tree.map(lambda s: np.zeros(s.shape), shapes)
  for name, values in GOLDEN.items():
    if name.startswith(f'{case}/param/'):
      operation, layer, _ = (
        name.removeprefix(f'{case}/param/').replace('.w', '/w').split('/')
      )
      leaf = pytorch.LEAVES[layer]
      leaf = leaf[:2] if operation.startswith('dil') else leaf
      path, row = filling.mixed(operation, leaf, 0, 1)
      own = filling.part(variables['params'], f'mixed/{path}', row)
      filling.put(own, values)
  y, _ = op.apply(variables, x, mix, ctx, mutable=['batch_stats'])
  close(y[0], filling.last(GOLDEN[f'{case}/y']))


def test_the_shuffle():
  for name in ('C36_k6', 'C36_k4', 'C24_k3'):
    told, k = GOLDEN[f'shuffle/{name}'], int(name[-1])
    x = jnp.arange(len(told), dtype=float)[None, None, None, None]
    front = len(told) // k
    y = columns.beside(x[..., :front], x[..., front:], jnp.ones(1), 1, k)
    np.testing.assert_array_equal(y.ravel(), told)


# Our names of the groups of channels, and the page's of their copies.
GROUPS = {
  'sep_conv_3x3': {
    'first/depthwise_3x3': 'out_index/op.1.weight',
    'first/pointwise': 'out_index/op.2.weight',
    'second/depthwise_3x3': 'out_index/op.5.weight',
    'second/pointwise': 'out_index/op.6.weight',
  },
  'dil_conv_5x5': {
    'once/depthwise_5x5_dilated': 'out_index/op.1.weight',
    'once/pointwise': 'out_index/op.2.weight',
  },
  'skip_connect_stride2': {
    'skip/Pointwise_0/kernel': 'out_index/conv_1.weight',
    'skip/Pointwise_1/kernel': 'out_index/conv_2.weight',
    'skip/Pointwise_0/kernel inputs': 'in_index/conv_1.weight',
    'skip/Pointwise_1/kernel inputs': 'in_index/conv_2.weight',
  },
  'avg_pool_3x3': {'pools': None},
}


def trees(case, when):
  """The page's variables of one operation as ours: kernels, statistics."""
  operation, found = case.removesuffix('_stride2'), ({}, {})
  for key, x in GOLDEN.items():
    if not key.startswith(f'widen/{case}/{when}/'):
      continue
    layer, last = key.rsplit('/', 1)[1].rsplit('.', 1)
    if operation == 'avg_pool_3x3':
      path = 'pools'
    else:
      leaf = pytorch.LEAVES[layer]
      leaf = leaf[:2] if operation.startswith('dil') else leaf
      path, _ = filling.mixed(operation, leaf, 0, 1)
    kernel = last == 'weight'
    if not kernel:
      path = f'{path}/{last.removeprefix("running_")}'
    elif x.shape[1] == 1:  # depthwise
      x = x[:, 0].transpose(1, 2, 0)
    else:
      x = x[..., 0, 0].T
    own, *names = found[not kernel], *path.split('/')
    for name in names[:-1]:
      own = own.setdefault(name, {})
    own[names[-1]] = x[None] if kernel else x[None, None, None, None]
  return found


@pytest.mark.parametrize('case', GROUPS)
def test_an_operation_is_widened(case):
  groups = GROUPS[case]

  def draw(name, shape, count):
    if groups[name] is not None:
      index = GOLDEN[f'widen/{case}/{groups[name]}']
    else:  # which of them the authors' code drew, it does not say
      old, new = (
        trees(case, when)[1]['pools']['mean'] for when in ('before', 'after')
      )
      old, new = old.ravel(), new.ravel()
      index = np.array([np.flatnonzero(old == x)[0] for x in new[len(old) :]])
    assert shape == (1, len(index)) and (index < count).all()
    return index[None]

  kernels, stats = trees(case, 'before')
  told, told_stats = trees(case, 'after')
  names = widening.leaves(kernels)
  grown = functools.partial(widening.grown, draw, names)
  jax.tree.map(np.testing.assert_array_equal, grown(kernels, told), told)
  momenta, after = (
    trees(case, f'momentum_{n}')[0] for n in ('before', 'after')
  )
  jax.tree.map(np.testing.assert_array_equal, grown(momenta, after), after)
  found = grown(stats, told_stats)
  if 'skip' in case:
    # Theirs has all new channels behind the old, as no kernel has them.
    half = kernels['skip']['Pointwise_0']['kernel'].shape[-1]
    first, second = (
      draw(
        f'skip/Pointwise_{n}/kernel',
        (1, len(GOLDEN[f'widen/{case}/out_index/conv_{n + 1}.weight'])),
        half,
      )[0]
      for n in (0, 1)
    )
    for name, x in stats['skip']['Norm_0'].items():
      a, b = np.split(x.ravel(), 2)
      right = np.concatenate([a, a[first], b, b[second]])
      np.testing.assert_array_equal(
        found['skip']['Norm_0'][name].ravel(), right
      )
      theirs = np.concatenate([a, b, x.ravel()[first], x.ravel()[second]])
      np.testing.assert_array_equal(
        told_stats['skip']['Norm_0'][name].ravel(), theirs
      )
  else:
    jax.tree.map(np.testing.assert_array_equal, found, told_stats)


def size(net, side=32):
  """How many weights a supernet has."""
  shape = len(net.space.edges), columns.count(net)
  mix = {kind: jnp.zeros(shape) for kind in net.space.kinds}
  return sizing.size(sizing.shapes(net, (side, side, 3), mix)['params'])


def test_counts():
  for name, classes, channels, layers, k in (
    ('cifar10_C36_L20_k6', 10, 36, 20, 6),
    ('cifar10_C36_L20_k4_all_ops_kept_in_memory', 10, 36, 20, 4),
    ('cifar100_C36_L20_k6', 100, 36, 20, 6),
    ('tiny_C12_L3_k6', 10, 12, 3, 6),
    ('tiny_C12_L3_k4', 10, 12, 3, 4),
  ):
    net = supernet.Supernet(SPACE, classes, channels, layers, partial=k)
    assert size(net) == GOLDEN[f'count/{name}']
  for k in (1, 4, 2):
    net = nasbench201.Supernet(CELLS, 10, partial=k)
    # Ours has NAS-Bench-201's biases, which a normalisation cancels.
    biases = sum(2 * 6 * 5 * width // k for width in (16, 32, 64))
    told = GOLDEN[f'count/nb201_C16_N5_k{k}_without_alpha']
    assert size(net) - biases == told


def test_schedules():
  """One cosine over both stages, in each of which the alphas rest at first."""
  plan = stages.plan(search_drnas.get_config(), SPACE)
  moves, rates, ks = [], [], []
  for stage in plan:
    for epoch in range(stage.config.epochs):
      now, w = stage.before + epoch, stage.config.weights
      rates.append(optimizers.cosine(w.lr, w.lr_min, now, stage.total))
      moves.append(now >= stage.config.alphas.warmup)
      ks.append(stage.method.model['partial'])
  np.testing.assert_array_equal(moves, GOLDEN['run_cifar/arch_step_on'])
  np.testing.assert_array_equal(ks, GOLDEN['run_cifar/k'])
  single = GOLDEN['run_cifar/lr_single_cosine_for_comparison']
  np.testing.assert_allclose(rates, single, rtol=1e-9)
  half = plan[1].before
  theirs = GOLDEN['run_cifar/lr']
  np.testing.assert_allclose(theirs[:half], single[:half], rtol=1e-9)
  np.testing.assert_allclose(theirs[half:], 2 * single[half:], rtol=1e-6)

"""SDARTS's perturbations and schedules against xiangning-chen/SmoothDARTS."""

import dataclasses
import functools
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import search_sdarts
from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods import perturbation
from sdnas_jax.methods.perturbation import renormalised
from sdnas_jax.methods.sdarts_adv import ascend
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests.golden import filling
from tests.golden import given
from tests.golden import pytorch
from tests.golden import tabular

GOLDEN = filling.load('sdarts')
DARTS = SPACES['darts']
KINDS = {'darts': ('normal', 'reduce'), 'nb201': ('cell',)}
ATTACKS = [
  name.removesuffix('_accepted').removeprefix('pgd_')
  for name in GOLDEN
  if name.endswith('_accepted')
]


def told(case, *names):
  """Arrays of a case by name; or by name, of each of its kinds."""
  kinds = [k for two in KINDS.values() for k in two]
  found = []
  for name in names:
    own = {
      k: jnp.asarray(GOLDEN[f'{case}_{name}_{k}'])
      for k in kinds
      if f'{case}_{name}_{k}' in GOLDEN
    }
    found.append(own or GOLDEN.get(f'{case}_{name}'))
  return found


def close(found, expected):
  for kind, x in expected.items():
    np.testing.assert_allclose(found[kind], x, rtol=1e-12, atol=1e-12)


def bounds(method, eps):
  """The method's with a box of one size."""
  return methods.make(method, {'first': float(eps), 'last': float(eps)})


@pytest.mark.parametrize('space', KINDS)
def test_random(space, monkeypatch):
  eps, alphas, centre, noise, expected = told(
    f'rs_{space}', 'eps', 'alpha', 'A', 'noise', 'perturbed'
  )
  method = bounds('sdarts_rs', eps)
  mix = method.relax(given.arch(alphas), None)
  close(mix, centre)
  monkeypatch.setattr(perturbation, 'noise', lambda *_: noise)
  found = method.perturb(None, mix, None, given.now(0, 1))
  close(found, expected)


@pytest.mark.parametrize('space', KINDS)
def test_noise_is_uniform_in_the_box(space):
  eps, centre = told(f'rs_{space}', 'eps', 'A')
  found = perturbation.noise(jax.random.key(0), centre, eps)
  for kind, x in found.items():
    assert x.shape == centre[kind].shape
    assert 0.9 * eps < np.abs(x).max() <= eps
    assert np.abs(x.mean()) < 0.2 * eps


@pytest.mark.parametrize('case', ATTACKS)
def test_adversarial(case, monkeypatch):
  case = f'pgd_{case}'
  eps, begun, alphas, c, d, noise = told(
    case, 'eps', 'random_start', 'alpha', 'c', 'd', 'noise'
  )
  projected, iterates, final = told(case, 'projected', 'iterates', 'final')
  method = bounds('sdarts_adv', eps)
  mix = method.relax(given.arch(alphas), None)
  if not begun:  # which the drivers do not
    noise = jax.tree.map(jnp.zeros_like, mix)
  monkeypatch.setattr(perturbation, 'noise', lambda *_: noise)

  def loss(mix, running):
    assert running
    return sum(
      jnp.sum(c[k] * p) + jnp.sum(d[k] * p**2) / 2 for k, p in mix.items()
    )

  p = perturbation.shifted(mix, noise)
  size = GOLDEN[f'{case}_step_size']
  for n in range(len(next(iter(iterates.values())))):
    if n or not begun:
      p = ascend(p, mix, loss, eps, size)
    close(p, {k: x[n] for k, x in iterates.items()})
    for kind, x in projected.items():
      alive = np.ones(x[n].shape, bool)
      close({kind: renormalised(x[n], alive)}, {kind: iterates[kind][n]})
  for of, at in (('before', mix), ('after', p)):
    value = GOLDEN[f'{case}_loss_{of}']
    np.testing.assert_allclose(loss(at, True), value, rtol=1e-12)
  found = method.perturb(None, mix, loss, given.now(0, 1))
  close(found, final)
  if not GOLDEN[f'{case}_accepted']:
    close(found, mix)


@pytest.mark.parametrize('space', KINDS)
def test_schedules(space):
  sizes = GOLDEN[f'eps_schedule_{space}']
  ends = methods.options('sdarts_rs')
  assert ends == {k: methods.options('sdarts_adv')[k] for k in ends}
  e, epochs = np.arange(len(sizes)), len(sizes)
  found = perturbation.radius(given.now(e, epochs), **ends)
  np.testing.assert_allclose(found, sizes, rtol=1e-12)
  rates = GOLDEN[f'lr_schedule_torch_ge_1_1_{space}']
  weights = search_sdarts.get_config().weights
  ends = weights.lr, weights.lr_min, e, epochs
  found = optimizers.SCHEDULES[weights.schedule](*ends)
  np.testing.assert_allclose(found, rates, rtol=1e-12)
  usual = optimizers.cosine(*ends)
  assert np.abs(usual - rates).max() > 1e-4


def test_the_genotype():
  method, columns = (
    methods.make('sdarts_adv', {}),
    [n for n, name in enumerate(DARTS.primitives) if name != 'none'],
  )
  arch = method.init(np.random.default_rng(0), given.net(DARTS), 0.0)
  alphas = {k: np.zeros(DARTS.shape) for k in DARTS.kinds}
  for kind, own in alphas.items():
    own[:, columns] = GOLDEN[f'genotype_alpha_{kind}']
  mix = method.relax(arch._replace(alphas=alphas), None)
  mix = {k: np.asarray(p) for k, p in mix.items()}
  for kind, graph in method.discretize(DARTS, arch, mix).graphs.items():
    found = given.numbers(DARTS, graph)
    found[:, 0] = [columns.index(o) for o in found[:, 0]]
    np.testing.assert_array_equal(found, GOLDEN[f'genotype_{kind}'])


SEVEN = DARTS.primitives[1:]
MINI = {
  name.removeprefix('mini_'): x
  for name, x in GOLDEN.items()
  if name.startswith('mini_')
}


class Mini(nn.Module):
  """The page's: a stem, two mixed operations and a classifier."""

  space = spaces.Space('mini', SEVEN, nodes=1, inputs=1)
  partial, auxiliary = 1, False
  depthwise: str = 'grouped'

  @nn.compact
  def __call__(self, images, mix, train=False, present=None):
    ctx = ops.context(images, train, present, self.depthwise, False)
    x = ops.Stem(4, name='stem')(images, ctx)
    for kind, stride in (('normal', 1), ('reduce', 2)):
      op = ops.MixedOp(SEVEN, x.shape[-1], stride, name=kind)
      x = op(x, mix[kind], ctx)
    return ops.Classifier(10, name='classifier')(x)


def place(name):
  """Where we keep a part of it."""
  if name in pytorch.WHOLE:
    return filling.darts(pytorch.WHOLE[name])
  kind, rest = name.split('.', 1)
  path, row = filling.mixed(*pytorch.operation(rest, SEVEN), 0, 1)
  return f'{kind}/{path}', row


def unbiased(before, after, images):
  """Theirs of the variance is, which the attack sees in the next step."""

  def one(path, old, new):
    if path[-1].key == 'mean':
      return new
    count = images[..., 0].size // (4 if path[0].key == 'reduce' else 1)
    return 0.9 * old + (new - 0.9 * old) * count / (count - 1)

  return jax.tree.map_with_path(one, before, after)


@jax.jit
def step(state, train, valid, noise, parts):
  """A search's step under that noise, and the mix that the weights saw."""
  used = []

  def perturb(*args):
    used.append(parts.method.perturb(*args))
    return used[0]

  method = dataclasses.replace(parts.method, perturb=perturb)
  own = dataclasses.replace(parts, method=method)
  with mock.patch.object(perturbation, 'noise', lambda *_: noise):
    return search.step(state, filling.KEY, train, valid, own), used[0]


def test_sizes():
  for name, net in (
    ('darts7', supernet.Supernet(DARTS, 10)),
    ('nb201', nasbench201.Supernet(SPACES['nasbench201'], 10)),
  ):
    mix = {k: np.ones(net.space.shape, np.float32) for k in net.space.kinds}
    params = sizing.shapes(net, (32, 32, 3), mix)['params']
    # Theirs have no biases where the normalisation cancels them.
    cancelled = sum(
      x.size
      for path, x in jax.tree_util.tree_leaves_with_path(params)
      if path[-1].key == 'bias' and 'nor_conv' in str(path)
    )
    told = GOLDEN[f'param_count_{name}_supernet_c10']
    assert sizing.size(params) - cancelled == told


@pytest.mark.parametrize('case', ['none', 'rs', 'advnowrite'])
def test_two_steps_of_a_network(case):
  """Alpha steps write no running statistics here, as in `advnowrite`."""
  net, told = (
    Mini(),
    {
      name.removeprefix(f'{case}_'): x
      for name, x in MINI.items()
      if name.startswith(f'{case}_')
    },
  )
  values = [*pytorch.sines(MINI['param_names'])]
  variables = filling.fill(net, values, place)
  name = {'none': 'darts', 'rs': 'sdarts_rs', 'advnowrite': 'sdarts_adv'}[case]
  eps = {} if case == 'none' else dict.fromkeys(('first', 'last'), 'eps')
  method = methods.make(name, {k: float(MINI[v]) for k, v in eps.items()})
  parts = dataclasses.replace(filling.setup(net), method=method)
  alphas = {k: jnp.asarray(MINI[f'alpha_{k}_init']) for k in net.space.kinds}
  assert MINI['lr'] == filling.LR
  state = filling.state(parts, variables, alphas, 3e-4, 0.0)
  for t, norm in enumerate(told['grad_norm']):
    limit = tabular.limit(MINI['grad_clip'], norm, norm)
    state = state._replace(rates=state.rates | {'weights.clip': limit})
    noise = told['noise'][t][:, None] if case != 'none' else np.zeros((2, 1, 7))
    train, valid = (
      filling.ready(MINI[f'{half}_x'][t], MINI[f'{half}_y'][t])
      for half in ('train', 'valid')
    )
    noise = dict(zip(net.space.kinds, jnp.asarray(noise), strict=True))
    before = state.stats
    state, used = step(state, train, valid, noise, parts)
    state = state._replace(stats=unbiased(before, state.stats, train.image))
    for n, kind in enumerate(net.space.kinds):
      for found, of in (
        (used[kind], 'weights_used'),
        (state.params['alphas'][kind], 'alpha_after'),
      ):
        filling.close(found[0], told[of][t, n])
    mean = np.ravel(state.stats['stem']['Norm_0']['mean'])
    written = np.abs(mean - told['stem_running_mean'][t]).max()
    assert (written < 1e-9) == (case == 'advnowrite')
  found = [
    pytorch.flat(filling.part(state.params['weights'], *place(name)), x.shape)
    for name, x in values
  ]
  np.testing.assert_allclose(
    np.concatenate(found), told['params_after'], rtol=1e-8, atol=1e-10
  )
  if case == 'advnowrite':
    differs = MINI['adv_weights_used'][-1] - told['weights_used'][-1]
    assert np.abs(differs).max() > 1e-3


def test_a_step_in_nas_bench_201_s_space():
  shared = {name: MINI[name] for name in ('lr', 'grad_clip')}
  case = tabular.Case(GOLDEN, **shared)
  method = bounds('sdarts_rs', MINI['eps'])
  noise = {'cell': jnp.asarray(case.told['noise'])}
  run = functools.partial(step, noise=noise)
  used = case.check(method, run)
  np.testing.assert_allclose(
    used['cell'], case.told['weights_used'], rtol=1e-9, atol=1e-12
  )

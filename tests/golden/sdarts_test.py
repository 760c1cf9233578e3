"""SDARTS's perturbations and schedules against xiangning-chen/SmoothDARTS."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods.sdarts import radius
from sdnas_jax.methods.sdarts import renormalised
from sdnas_jax.spaces import SPACES
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('sdarts')
DARTS = SPACES['darts']
MODULE = sys.modules['sdnas_jax.methods.sdarts']
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
  monkeypatch.setattr(MODULE, 'noise', lambda *_: noise)
  found = method.perturb(None, mix, None, given.now(0, 1))
  close(found, expected)


@pytest.mark.parametrize('space', KINDS)
def test_noise_is_uniform_in_the_box(space):
  eps, centre = told(f'rs_{space}', 'eps', 'A')
  found = MODULE.noise(jax.random.key(0), centre, eps)
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
  monkeypatch.setattr(MODULE, 'noise', lambda *_: noise)

  def loss(mix, running):
    assert running
    return sum(
      jnp.sum(c[k] * p) + jnp.sum(d[k] * p**2) / 2 for k, p in mix.items()
    )

  p = MODULE.shifted(mix, noise)
  size = GOLDEN[f'{case}_step_size']
  for n in range(len(next(iter(iterates.values())))):
    if n or not begun:
      p = MODULE.ascend(p, mix, loss, eps, size)
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
  found = radius(given.now(e, epochs), **ends)
  np.testing.assert_allclose(found, sizes, rtol=1e-12)
  rates = GOLDEN[f'lr_schedule_torch_ge_1_1_{space}']
  found = optimizers.early_cosine(filling.LR, 0.001, e, epochs)
  np.testing.assert_allclose(found, rates, rtol=1e-12)
  usual = optimizers.cosine(filling.LR, 0.001, e, epochs)
  assert np.abs(usual - rates).max() > 1e-4


def test_the_genotype():
  method, columns = (
    methods.make('sdarts_adv', {}),
    [n for n, name in enumerate(DARTS.primitives) if name != 'none'],
  )
  tables = {kind: DARTS.shape for kind in DARTS.kinds}
  arch = method.init(np.random.default_rng(0), DARTS, tables, 0.0)
  alphas = {k: np.zeros(DARTS.shape) for k in DARTS.kinds}
  for kind, own in alphas.items():
    own[:, columns] = GOLDEN[f'genotype_alpha_{kind}']
  mix = method.relax(arch._replace(alphas=alphas), None)
  mix = {k: np.asarray(p) for k, p in mix.items()}
  for kind, graph in method.discretize(DARTS, arch, mix).graphs.items():
    found = given.numbers(DARTS, graph)
    found[:, 0] = [columns.index(o) for o in found[:, 0]]
    np.testing.assert_array_equal(found, GOLDEN[f'genotype_{kind}'])

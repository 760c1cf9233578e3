"""SNAS's samples, schedules, cells and genotypes against SNAS-Series.

Their resource cost is not in the method.
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import search_snas
from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods.snas import temperature
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from tests.golden import filling
from tests.golden import given
from tests.golden import toy

GOLDEN = filling.load('snas')
DARTS = SPACES['darts']
TABLES = {'darts': DARTS, 'nb201': SPACES['nasbench201']}
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
CASES = GOLDEN['geno_case'].tolist()


def sampler(kind, tau, uniform, monkeypatch):
  """From log alphas to the mix, at a fixed temperature and draw."""
  method = methods.make('snas', {'tau_min': float(tau)})
  gumbel = jnp.asarray(-np.log(-np.log(uniform)))
  monkeypatch.setattr(jax.random, 'gumbel', lambda *_: gumbel)
  now = given.now(0, 1)  # the last epoch
  close(temperature(now, tau), tau)

  def sample(alphas):
    arch = given.arch({kind: alphas})
    return method.sample(jax.random.key(0), arch, now, 'weights')

  return sample


@pytest.mark.parametrize('table', TABLES)
def test_samples_and_their_gradients(table, monkeypatch):
  kind, c = TABLES[table].kinds[0], jnp.asarray(GOLDEN[f'{table}_c'])
  alphas = jnp.asarray(GOLDEN[f'{table}_log_alpha'])
  for k, uniform in enumerate(GOLDEN[f'{table}_U']):
    for t, tau in enumerate(GOLDEN['sample_tau']):
      sample = sampler(kind, tau, uniform, monkeypatch)

      def loss(alphas, sample=sample):
        z = sample(alphas)[kind]
        return jnp.sum(c * z), z

      grads, z = jax.grad(loss, has_aux=True)(alphas)
      close(z, GOLDEN[f'{table}_Z'][k, t])
      close(grads, GOLDEN[f'{table}_grad'][k, t])


@pytest.mark.parametrize('drop', [False, True])
def test_a_cell(drop, monkeypatch):
  tables = GOLDEN['cell_scale'], GOLDEN['cell_shift']
  inputs = [jnp.asarray(GOLDEN[f'cell_{x}']) for x in ('s0', 's1')]
  alphas = jnp.asarray(GOLDEN['darts_log_alpha'])
  name = 'cell_drop' if drop else 'cell'
  for t, tau in enumerate(GOLDEN['cell_tau']):
    sample = sampler('normal', tau, GOLDEN['darts_U'][0], monkeypatch)
    monkeypatch.setattr(jax.random, 'bernoulli', masks())

    def loss(alphas, s0, s1, sample=sample):
      mix = sample(alphas)
      _, rate = mix['drop_path']
      close(rate, GOLDEN['cell_drop_prob'])
      mix = mix if drop else {'normal': mix['normal']}
      out = toy.darts(DARTS, tables, s0, s1, mix)
      return jnp.sum(GOLDEN['cell_R'] * out), out

    grads, out = jax.grad(loss, (0, 1, 2), has_aux=True)(alphas, *inputs)
    close(out, GOLDEN[f'{name}_out'][t])
    for own, of in zip(grads, ('log_alpha', 's0', 's1'), strict=True):
      close(own, GOLDEN[f'{name}_grad_{of}'][t])


def masks():
  """What each node's edges keep, one after the other."""
  sources = iter(range(DARTS.inputs + DARTS.nodes - 1))

  def bernoulli(key, share, shape):
    kept = GOLDEN['cell_drop_mask'][np.array(DARTS.leaving(next(sources)))]
    return jnp.asarray(kept.reshape(shape) == 1)

  return bernoulli


def test_the_temperature():
  """Theirs knows 150 epochs only; ours goes by the search's."""
  for name in ('E150', 'E50', 'E200'):
    told = GOLDEN[f'sched_tau_released_{name}']
    clock = given.now(np.arange(len(told)), len(told))
    found = temperature(clock, methods.options('snas')['tau_min'])
    if name == 'E150':
      close(found, told)
    else:
      assert np.abs(found - told).max() > 0.1
    close(found[-1], GOLDEN['sched_tau_released_E150'][-1])


def test_the_learning_rate():
  told, config = GOLDEN['sched_lr_w_E150'], search_snas.get_config()
  assert config.epochs == len(told)
  weights, epochs = config.weights, np.arange(len(told))
  schedule = optimizers.SCHEDULES[weights.schedule]
  close(schedule(weights.lr, weights.lr_min, epochs, len(told)), told)


@pytest.mark.parametrize('n', range(len(CASES)), ids=CASES)
def test_genotypes(n):
  method = methods.make('snas', {})
  arch = given.arch({k: GOLDEN['geno_log_alpha'][n] for k in DARTS.kinds})
  mix = {k: np.asarray(x) for k, x in method.relax(arch, None).items()}
  for how, edges in (('edge_all', None), ('top2', 2)):
    nodes = spaces.keep(DARTS, mix['normal'], edges, none=True).values()
    found = given.numbers(DARTS, types.SimpleNamespace(nodes=nodes))
    for column, of in enumerate(('op', 'pred')):
      told = GOLDEN[f'geno_{how}_{of}'][n]
      np.testing.assert_array_equal(found[:, column], told)
  told = np.stack(
    [GOLDEN[f'geno_edge_all_{of}'][n] for of in ('op', 'pred')], axis=-1
  )
  none = DARTS.primitives.index('none')
  for graph in method.discretize(DARTS, arch, mix).graphs.values():
    found = given.numbers(DARTS, graph).reshape(-1, 2)
    np.testing.assert_array_equal(found, told[told[:, 0] != none])

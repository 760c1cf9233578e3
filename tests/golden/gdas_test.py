"""GDAS's samples, schedules, cells, steps and genotypes against the release.

Ours is the form of its NASNet cells, in NAS-Bench-201's space too: formula (i)
of the page. The clipping, which in the release sees the alphas' gradients left
from before, sees the weights' alone.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import search_gdas
from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import split
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.gdas import one_hot
from sdnas_jax.methods.gdas import temperature
from sdnas_jax.spaces import SPACES
from tests.golden import filling
from tests.golden import given
from tests.golden import toy

GOLDEN = filling.load('gdas')
DARTS, TABULAR = SPACES['darts'], SPACES['nasbench201']
ORDER = GOLDEN['nasnet_to_darts8']
# The release's order of the operations, which decides between equal ones.
NASNET = DARTS._replace(primitives=tuple(DARTS.primitives[o] for o in ORDER))
TABLES = {'nasnet': NASNET, 'nb201': TABULAR}
LIMIT = 5.0  # of a gradient's norm
TOLERANCE = {'rtol': 1e-9, 'atol': 1e-12}
close = functools.partial(np.testing.assert_allclose, **TOLERANCE)


def sampler(table, tau, gumbel, monkeypatch):
  """From alphas to the mix, at a fixed temperature and draw."""
  method = methods.make('gdas', {'tau_max': float(tau), 'tau_min': float(tau)})
  kind = TABLES[table].kinds[0]
  monkeypatch.setattr(jax.random, 'gumbel', lambda *_: jnp.asarray(gumbel))

  def sample(alphas):
    arch = given.arch({kind: alphas})
    key = jax.random.key(0)
    return method.sample(key, arch, given.now(0, 1), 'weights')

  return sample, kind


@pytest.mark.parametrize('table', TABLES)
def test_samples_and_their_gradients(table, monkeypatch):
  alphas, c = (jnp.asarray(GOLDEN[f'{table}_{x}']) for x in ('alpha', 'c'))
  for k, gumbel in enumerate(GOLDEN[f'{table}_gumbel']):
    for t, tau in enumerate(GOLDEN['sample_tau']):
      sample, kind = sampler(table, tau, gumbel, monkeypatch)

      def loss(alphas, sample=sample, kind=kind):
        h = sample(alphas)[kind]
        return jnp.sum(c * h), h

      grads, h = jax.grad(loss, has_aux=True)(alphas)
      close(h, GOLDEN[f'{table}_hard'][k, t])
      np.testing.assert_array_equal(
        h.argmax(axis=-1), GOLDEN[f'{table}_index'][k, t]
      )
      close(grads, GOLDEN[f'{table}_grad_chosen'][k, t])
      others = GOLDEN[f'{table}_grad_all'][k, t]
      assert np.abs(grads - others).max() > 1e-3 * np.abs(others).max()


@pytest.mark.parametrize('table', TABLES)
def test_a_cell(table, monkeypatch):
  space, alphas = TABLES[table], jnp.asarray(GOLDEN[f'{table}_alpha'])
  told = {
    name.removeprefix(f'cell_{table}_'): x
    for name, x in GOLDEN.items()
    if name.startswith(f'cell_{table}_')
  }
  tables, r = (told['scale'], told['shift']), told['R']
  inputs = [jnp.asarray(told[x]) for x in ('s0', 's1', 'x') if x in told]
  run = toy.darts if table == 'nasnet' else toy.tabular
  for t, tau in enumerate(GOLDEN['cell_tau']):
    gumbel = GOLDEN[f'{table}_gumbel'][0]
    sample, _ = sampler(table, tau, gumbel, monkeypatch)

    def loss(alphas, *inputs, sample=sample):
      out = run(space, tables, *inputs, sample(alphas))
      return jnp.sum(r * out), out

    every = range(1 + len(inputs))
    grads, out = jax.grad(loss, every, has_aux=True)(alphas, *inputs)
    close(out, told['out'][t])
    for name, of_input in zip(('s0', 's1'), grads[1:], strict=False):
      if f'grad_{name}' in told:
        close(of_input, told[f'grad_{name}'][t])
    if table == 'nasnet':
      close(grads[0], told['grad_alpha'][t])
    else:
      close(grads[1], told['grad_x'][t])
      close(grads[0], told['grad_alpha_v1_intended'][t])
      differ(grads[0], told['grad_alpha_gdas'][t])
    differ(grads[0], told['grad_alpha_allops_wrong'][t])


def differ(x, other):
  """By more than rounding."""
  assert np.abs(x - other).max() > 1e-3 * np.abs(other).max()


@pytest.mark.parametrize(
  'name', [name for name in GOLDEN if name.startswith('sched_tau')]
)
def test_the_temperature(name):
  epochs = len(GOLDEN[name])
  ends = methods.options('gdas')
  found = temperature(given.now(np.arange(epochs), epochs), **ends)
  close(found, GOLDEN[name])


@pytest.mark.parametrize(
  'name', [name for name in GOLDEN if name.startswith('sched_lr')]
)
def test_the_learning_rate(name):
  epochs, weights = len(GOLDEN[name]), search_gdas.get_config().weights
  schedule = optimizers.SCHEDULES[weights.schedule]
  found = schedule(weights.lr, weights.lr_min, np.arange(epochs), epochs)
  close(found, GOLDEN[name])


def genotype(space, alphas):
  """Of the same alphas for all kinds."""
  method = methods.make('gdas', {})
  arch = given.arch({kind: alphas for kind in space.kinds})
  mix = {k: np.asarray(x) for k, x in method.relax(arch, None).items()}
  return method.discretize(space, arch, mix)


@pytest.mark.parametrize('n', range(len(GOLDEN['geno_nasnet_case'])))
def test_genotypes(n):
  alphas, nodes = GOLDEN['geno_nasnet_alpha'][n], len(DARTS.targets)
  told = np.stack(
    [GOLDEN['geno_nasnet_op'][n], GOLDEN['geno_nasnet_pred'][n]], axis=-1
  ).reshape(2 * nodes, 2)
  for graph in genotype(NASNET, alphas).graphs.values():
    np.testing.assert_array_equal(given.numbers(NASNET, graph), told)
    assert graph.outputs == DARTS.targets
  if GOLDEN['geno_nasnet_case'][n] != 'all_ties':
    ours = np.empty_like(alphas)
    ours[:, ORDER] = alphas
    for graph in genotype(DARTS, ours).graphs.values():
      np.testing.assert_array_equal(given.numbers(NASNET, graph), told)


@pytest.mark.parametrize('n', range(len(GOLDEN['geno_nb201_str'])))
def test_genotypes_of_nas_bench_201(n):
  found = genotype(TABULAR, GOLDEN['geno_nb201_alpha'][n])
  assert found.architecture == GOLDEN['geno_nb201_str'][n]
  assert list(TABULAR.primitives) == GOLDEN['ops_nb201_order'].tolist()


class Model(nn.Module):
  """The page's: logits x W sum(c h)."""

  space = TABULAR

  @nn.compact
  def __call__(self, x, mix, train, present=None):
    self.variable('batch_stats', 'none', jnp.zeros, ())
    kernel = self.variable('params', 'kernel', None).value
    return x @ kernel * jnp.sum(GOLDEN['loop_c'] * mix['cell'])


def sample(key, arch, now, group, gumbel, tau):
  """A step's draw for each group; here operations not chosen are felt too."""
  alphas, alive = arch.alphas['cell'], arch.mask['cell']
  h = lax.stop_gradient(one_hot(alphas, alive, gumbel[group], tau))
  p = archs.alive((alphas + gumbel[group]) / tau, alive)
  return {'cell': h + p - lax.stop_gradient(p)}


def batch(half, t):
  """Of a step."""
  images, labels = (GOLDEN[f'loop_{x}_{half}'][t] for x in 'xy')
  rows = jnp.arange(len(labels), dtype=jnp.int32)
  return split.Batch(
    jnp.asarray(images), jnp.asarray(labels), rows, jnp.ones(len(rows), bool)
  )


def steps(limits):
  """The state after each step, with a limit of the gradient's norm for each."""
  variables = {
    'params': {'kernel': jnp.asarray(GOLDEN['loop_W0'])},
    'batch_stats': {'none': jnp.zeros(())},
  }
  parts = filling.setup(Model(), nesterov=True)
  method = methods.make('gdas', {})
  alphas = {'cell': jnp.asarray(GOLDEN['loop_alpha0'])}
  state = filling.state(parts, variables, alphas, 5e-4, LIMIT)
  for t, limit in enumerate(limits):
    weights, alphas = GOLDEN['loop_gumbel'][t]
    gumbel = {'weights': weights, 'alphas': alphas}
    drawn = functools.partial(sample, gumbel=gumbel, tau=GOLDEN['loop_tau'][t])
    own = dataclasses.replace(method, sample=drawn)
    own = dataclasses.replace(parts, method=own)
    rates = state.rates | {'weights.clip': jnp.asarray(limit)}
    halves = batch('train', t), batch('valid', t)
    state = filling.step(state._replace(rates=rates), filling.KEY, *halves, own)
    yield state.params['weights']['kernel'], state.params['alphas']['cell']


def test_the_loop():
  """With limits by which ours scales as theirs, which see the alphas too."""
  own, joint = (GOLDEN[f'loop_clipnorm_{x}'] for x in ('W_only', 'all'))
  scale = np.minimum(1, LIMIT / (joint + 1e-6))
  limits = np.where(scale < 1, scale * own, np.inf)
  for t, (w, a) in enumerate(steps(limits)):
    close(w, GOLDEN['loop_W'][t])
    close(a, GOLDEN['loop_alpha'][t])
  *_, (w, _) = steps(np.full(len(own), LIMIT))
  if not np.allclose(scale, np.minimum(1, LIMIT / own)):
    differ(w, GOLDEN['loop_W'][-1])

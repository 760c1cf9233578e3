"""FairDARTS's gates, losses, steps, genotypes and settings against the release.

Its cells are in fair_darts_cell_test.py. Its genotypes of two operations an
edge, which are not its default, are not made here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import search_fair_darts
from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import split
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('fair_darts')
SPACE = SPACES['darts7']
METHOD = methods.make('fair_darts', {})
KINDS = SPACE.kinds
NOW = given.now(0, 1)
DEFAULT = {
  name.removeprefix('default_search/'): value.item()
  for name, value in GOLDEN.items()
  if name.startswith('default_search/')
}
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


def test_the_space_and_the_first_gates():
  assert list(SPACE.primitives) == GOLDEN['meta/primitives'].tolist()
  for name in ('darts7', 'darts'):
    space = SPACES[name]
    arch = METHOD.init(np.random.default_rng(0), given.net(space), 1e-3)
    for kind in KINDS:
      assert not arch.alphas[kind].any()
      gates = np.asarray(METHOD.relax(arch, NOW)[kind])
      none = np.array([own == 'none' for own in space.primitives])
      assert (gates[:, ~none] == 0.5).all() and not gates[:, none].any()


def test_a_mixture():
  ops, r = GOLDEN['mix/op_outputs'], GOLDEN['mix/r']

  def loss(alphas):
    gates = METHOD.relax(given.arch({'normal': alphas[None]}), NOW)['normal'][0]
    y = jnp.einsum('o,onchw->nchw', gates, ops)
    return jnp.sum(r * y), (gates, y)

  grads, (gates, y) = jax.grad(loss, has_aux=True)(
    jnp.asarray(GOLDEN['mix/alpha'])
  )
  close(gates, GOLDEN['mix/gate'])
  close(y, GOLDEN['mix/y'])
  close(grads, GOLDEN['mix/grad_alpha'])


def batch(x, labels):
  """Of rows of numbers."""
  rows = len(labels)
  index = jnp.arange(rows, dtype=jnp.int32)
  labels = jnp.asarray(labels, jnp.int32)
  return split.Batch(jnp.asarray(x), labels, index, jnp.ones(rows, bool))


@pytest.mark.parametrize('norm', ['l2', 'l1'])
@pytest.mark.parametrize('case', range(len(GOLDEN['loss/case'])))
def test_losses(norm, case):
  weight = float(GOLDEN['loss/weight'])
  method = methods.make('fair_darts', {'weight': weight, 'l1': norm == 'l1'})
  rows = batch(GOLDEN['loss/logits'], GOLDEN['loss/target'])

  def loss(alphas, logits):
    arch = given.arch(alphas)
    own = totals.cross_entropy(logits, rows)
    term = method.penalty(arch, method.relax(arch, NOW), NOW)
    return own + term, (own, term / weight)

  alphas = dict(zip(KINDS, GOLDEN['loss/alpha'][case], strict=True))
  alphas = {kind: jnp.asarray(a) for kind, a in alphas.items()}
  (total, parts), (of_a, of_logits) = jax.value_and_grad(
    loss, (0, 1), has_aux=True
  )(alphas, rows.image)
  told = GOLDEN[f'loss/{norm}_total_ce_zeroone'][case]
  close([total, *parts], told)
  # Of the logits alone, as of all weights: the term has no effect on them.
  close(of_logits, GOLDEN['loss/grad_logits'])
  for kind, expected in zip(
    KINDS, GOLDEN[f'loss/{norm}_grad_alpha'][case], strict=True
  ):
    close(of_a[kind], expected)
  # The control: a mean over each table is another loss.
  if norm == 'l2' and any(a.any() for a in alphas.values()):
    halves = [
      weight * -np.mean((1 / (1 + np.exp(-a)) - 0.5) ** 2)
      for a in alphas.values()
    ]
    assert abs(sum(halves) - weight * told[2]) > 1e-3 * abs(told[2])


class Product(supernet.Base):
  """The page's network without weights: x times (gates @ B)."""

  cells = KINDS

  def __call__(self, images, mix, train=False, present=None):
    gates = jnp.concatenate([mix[kind].ravel() for kind in KINDS])
    return images * (gates @ GOLDEN['steps/B'])[None]


def test_alpha_steps():
  net = Product(SPACE, 10)
  parts = filling.setup(net).replace(method=METHOD)
  arch = METHOD.init(np.random.default_rng(0), net, 1.0)
  alphas = {k: jnp.asarray(a, jnp.float64) for k, a in arch.alphas.items()}
  variables = {'params': {'w': jnp.zeros(1)}, 'batch_stats': {}}
  state = filling.state(parts, variables, alphas, 0.0, 5.0)
  config = search_fair_darts.get_config().alphas
  names = {f'alphas.{name}': config[name] for name in optimizers.ALPHAS}
  rates = {k: jnp.asarray(float(v)) for k, v in names.items()}
  state = state._replace(rates=state.rates | rates)
  step = jax.jit(search.step)
  for t, (x, labels) in enumerate(
    zip(GOLDEN['steps/x'], GOLDEN['steps/target'], strict=True)
  ):
    rows = batch(x, labels)
    ce, zeroone = GOLDEN['steps/ce_zeroone'][t]
    mix = METHOD.relax(state.arch, NOW)
    close(totals.cross_entropy(net.apply({}, rows.image, mix), rows), ce)
    weight = float(GOLDEN['loss/weight'])
    close(METHOD.penalty(state.arch, mix, NOW), weight * zeroone)
    state = step(state, filling.KEY, rows, rows, parts)
    found = [state.params['alphas'][kind] for kind in KINDS]
    close(found, GOLDEN['steps/alpha'][t])


@pytest.mark.parametrize('case', range(len(GOLDEN['geno/case'])))
def test_genotypes(case):
  p = GOLDEN['geno/gate'][case]
  mix = dict.fromkeys(KINDS, p)
  threshold = DEFAULT['op_threshold']
  method = methods.make('fair_darts', {'threshold': threshold})
  graphs = method.discretize(SPACE, given.arch(mix), mix).graphs
  for graph in graphs.values():
    rows = [[SPACE.primitives.index(op), j, i] for op, i, j in graph.edges]
    told = [row for row in GOLDEN['geno/sparse'][case].tolist() if row[0] >= 0]
    assert rows == told
  # DARTS's own rule finds others where gates are low.
  darts = methods.make('darts', {})
  for graph in darts.discretize(SPACE, given.arch(mix), mix).graphs.values():
    told = GOLDEN['geno/darts_mode_not_default'][case]
    np.testing.assert_array_equal(given.numbers(SPACE, graph), told)


@pytest.mark.parametrize('classes', [10, 100])
@pytest.mark.parametrize('space', ['darts', 'darts7'])
def test_sizes(space, classes):
  net = supernet.Supernet(SPACES[space], classes)
  mix = {k: jnp.zeros(shape) for k, shape in net.tables.items()}
  params = sizing.shapes(net, (32, 32, 3), mix)['params']
  told = GOLDEN[f'count/supernet_cifar{classes}_C16_L8']
  assert sizing.size(params) == told


def test_the_setting():
  config = search_fair_darts.get_config()
  w, a = config.weights, config.alphas
  found = {
    **{'batch_size': config.batch_size, 'epochs': config.epochs},
    **{'learning_rate': w.lr, 'learning_rate_min': w.lr_min},
    **{'momentum': w.momentum, 'weight_decay': w.decay, 'grad_clip': w.clip},
    **{'init_channels': config.model.channels, 'layers': config.model.layers},
    **{'arch_learning_rate': a.lr, 'arch_weight_decay': a.decay},
    'aux_loss_weight': methods.options('fair_darts')['weight'],
    'op_threshold': methods.options('fair_darts')['threshold'],
  }
  for name, value in found.items():
    close(value, DEFAULT[name])
  schedule, told = optimizers.SCHEDULES[w.schedule], GOLDEN['sched/search_lr']
  for e, expected in enumerate(told):
    close(schedule(w.lr, w.lr_min, e, len(told)), expected)


def test_the_schedules_of_its_training():
  default = {
    name.removeprefix('default_eval/'): value.item()
    for name, value in GOLDEN.items()
    if name.startswith('default_eval/')
  }
  told = GOLDEN['sched/eval_lr']
  for e, expected in enumerate(told):
    found = optimizers.early_cosine(default['learning_rate'], 0.0, e, len(told))
    close(found, expected)


def test_the_weights_do_not_feel_the_term():
  """Of a search with another weight the weights' first step is the same."""
  one, two = (methods.make('fair_darts', {'weight': w}) for w in (0.0, 10.0))
  net = supernet.Supernet(SPACE, 3, channels=2, layers=1)
  mix = {k: jnp.zeros(shape) for k, shape in net.tables.items()}
  variables = sizing.variables(sizing.shapes(net, (4, 4, 3), mix), 0)
  arch = one.init(np.random.default_rng(0), net, 1.0)
  alphas = {k: jnp.asarray(a) + 1.0 for k, a in arch.alphas.items()}
  rows = batch(np.random.default_rng(0).random((2, 4, 4, 3)), [0, 1])
  after = []
  for method in (one, two):
    parts = filling.setup(net).replace(method=method, alpha_warmup=1)
    state = filling.state(parts, variables, alphas, 0.0, 5.0)
    end = filling.step(state, filling.KEY, rows, rows, parts)
    after.append(end.params['weights'])
  jax.tree.map(np.testing.assert_array_equal, *after)
  assert optax.tree_utils.tree_norm(after[0]) > 0

"""ProxylessNAS's gates, alphas and weight steps against mit-han-lab's code.

No latency is known of these spaces, and alphas have gradients: what the page
has of either (`reg`, `lat`, `rl`) is not here, nor several updates in a row,
nor a rate that changes within an epoch, which is met at the epochs' starts.
"""

import dataclasses
import functools
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import search
from tests import toys
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('proxyless')
EDGES, OPERATIONS = GOLDEN['edge_alpha'].shape
NONE = OPERATIONS - 1
NAMES = (*(f'o{n}' for n in range(NONE)), 'none')
# A block of the page is a cell of one edge, and of a kind of its own.
KINDS = tuple(f'kind{e}' for e in range(EDGES))
NET = types.SimpleNamespace(
  space=spaces.Space('one', NAMES, 1, 1, KINDS),
  cells=KINDS,
  tables=dict.fromkeys(KINDS, (1, OPERATIONS)),
)
MODES = 'two', 'full'
MADE = {m: methods.make('proxylessnas', {'mode': m, 'every': 1}) for m in MODES}
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


def rows(table):
  """Each kind's own, of one edge."""
  return {kind: jnp.asarray(table[e])[None] for e, kind in enumerate(KINDS)}


def table(rows):
  return np.concatenate([rows[kind] for kind in KINDS])


def noises(*chosen):
  """Gumbel's numbers for one draw after the other, by which these are drawn.

  Each of `chosen` is a list of operations [edges]: all of it is drawn.
  """
  for operations in chosen:
    for e in range(EDGES):
      own = np.zeros((1, OPERATIONS))
      own[0, [index[e] for index in operations]] = 1e3
      yield jnp.asarray(own)


def begun(alphas):
  first = MADE['two'].init(np.random.default_rng(0), NET, 0.0)
  return first._replace(alphas=alphas)


def drawing(fixed):
  """In the place of Gumbel's noise."""
  return lambda *_: next(fixed)


def sample(mode, alphas, group, active, inactive=None):
  """The mix of a draw."""
  fixed = noises([active])
  if mode == 'two' and group == 'alphas':
    fixed = noises([active, inactive], [active])
  now = given.now(0, 1)
  with mock.patch.object(jax.random, 'gumbel', drawing(fixed)):
    return MADE[mode].sample(filling.KEY, begun(alphas), now, group)


def weights(scale, shift):
  """By cell, node, operation: of one edge each."""

  def own(e, o):
    return {
      'scale': jnp.asarray(scale[e, [o]]),
      'shift': jnp.asarray(shift[e, [o]]),
    }

  return {
    f'cell{e}': {'from0': {NAMES[o]: own(e, o) for o in range(NONE)}}
    for e in range(EDGES)
  }


def run(params, mix, x):
  """The blocks, one after the other."""
  for e, kind in enumerate(KINDS):
    own = params[f'cell{e}']['from0']
    y = sum(
      g * (own[name]['scale'][0] * jnp.tanh(x) + own[name]['shift'][0])
      for name, g in zip(NAMES[:NONE], mix[kind][0, :NONE], strict=True)
    )
    x = x + y
  return x


EDGE = {
  name: GOLDEN[f'edge_{name}']
  for name in ('alpha', 'active', 'inactive', 'op_scale', 'op_shift', 'x', 'R')
}
MOVING = EDGE['active'] != NONE


@pytest.mark.parametrize('page', ['full', 'full_v2', 'two', 'single'])
def test_a_network_s_gates_and_alphas(page):
  told = {
    name.removeprefix(f'net_{page}_'): x
    for name, x in GOLDEN.items()
    if name.startswith(f'net_{page}_')
  }
  group = 'weights' if page == 'single' else 'alphas'
  mode = 'two' if page == 'two' else 'full'
  params, x = (
    weights(EDGE['op_scale'], EDGE['op_shift']),
    jnp.asarray(EDGE['x']),
  )
  alphas = rows(EDGE['alpha'])

  def draw(alphas):
    mix = sample(mode, alphas, group, EDGE['active'], EDGE['inactive'])
    assert ('open' in mix) == (group == 'alphas')
    return {kind: mix[kind] for kind in KINDS}

  def loss(params, mix, x):
    out = run(params, mix, x)
    return jnp.sum(EDGE['R'] * out), out

  gradients = jax.grad(loss, (0, 1, 2), has_aux=True)
  (of_w, of_gates, of_x), out = gradients(params, draw(alphas), x)
  close(out, told['out'])
  close(of_x, told['grad_x'])
  for e, o in np.ndindex(EDGES, NONE):
    if 'grad_scale' not in told:
      break
    own = of_w[f'cell{e}']['from0'][NAMES[o]]['scale'][0]
    close(own, np.nan_to_num(told['grad_scale'][e, o]))
  if page == 'single':
    return
  seen = np.ones((EDGES, OPERATIONS), bool)
  if page == 'two':
    both = np.stack([EDGE['active'], EDGE['inactive']], axis=-1)
    seen = (np.arange(OPERATIONS)[:, None] == both[:, None]).any(axis=-1)
  seen &= MOVING[:, None]
  close(table(of_gates)[seen], told['grad_gates'][seen])
  found = table(jax.grad(lambda a: loss(params, draw(a), x)[0])(alphas))
  close(found, np.nan_to_num(told['grad_alpha']))
  assert np.isnan(told['grad_alpha'][~MOVING]).all()
  assert not found[~MOVING].any()


@pytest.mark.parametrize('mode', MODES)
def test_the_alphas_gradient_of_gates_that_are_given(mode):
  def loss(alphas):
    mix = sample(mode, alphas, 'alphas', EDGE['active'], EDGE['inactive'])
    of_gates = rows(GOLDEN['given_gate_grad'])
    return sum(jnp.sum(of_gates[kind] * mix[kind]) for kind in KINDS)

  found = table(jax.grad(loss)(rows(EDGE['alpha'])))
  close(found, np.nan_to_num(GOLDEN[f'given_grad_alpha_{mode}']))


def begin(mode, alphas, **rates):
  """A state and its parts, of weights that do not matter."""
  parts = dataclasses.replace(
    toys.setup(MADE[mode], weight=0.0), net=NET, nesterov=True
  )
  zeros = np.zeros((EDGES, OPERATIONS))
  params = weights(rates.pop('scale', zeros), rates.pop('shift', zeros))
  own = {'alphas.b1': 0.0, 'alphas.decay': 0.0, 'weights.clip': np.inf}
  named = {k.replace('_', '.', 1): v for k, v in rates.items()}
  variables = {'params': params, 'batch_stats': {}}
  arch = begun(rows(alphas))
  arch = jax.tree.map(jnp.asarray, arch)
  rates = toys.RATES | own | named
  return search.init(parts, variables, arch, rates, 1, 1), parts


def sequence(page, mode, b1):
  """(state, alphas by Adam alone, their gradient) after each update."""
  told = {
    name.removeprefix(f'seq_{page}_'): x
    for name, x in GOLDEN.items()
    if name.startswith(f'seq_{page}_')
  }
  first = GOLDEN['edge_alpha']
  rates = {'alphas_lr': GOLDEN['seq_lr'], 'alphas_b1': b1}
  state, parts = begin(mode, first, **rates)
  alone = dataclasses.replace(MADE[mode], settle=methods.Method().settle)
  alone = dataclasses.replace(parts, method=alone)
  for t, active in enumerate(told['active']):
    inactive = told['inactive'][t] if mode == 'two' else None

    def loss(alphas, t=t, active=active, inactive=inactive):
      mix = sample(mode, alphas, 'alphas', active, inactive)
      of_gates = rows(np.nan_to_num(told['gate_grad'][t]))
      return sum(jnp.sum(of_gates[kind] * mix[kind]) for kind in KINDS)

    grads = jax.grad(loss)(state.params['alphas'])
    gradient = functools.partial(lambda *same: same, grads, state.own)
    adam = search.turn_alphas(state, filling.KEY, gradient, alone)
    pair = noises([active, inactive] if mode == 'two' else [active])
    with mock.patch.object(jax.random, 'gumbel', drawing(pair)):
      state = search.turn_alphas(state, filling.KEY, gradient, parts)
    yield state, table(adam.params['alphas']), table(grads)


def moments(state):
  """Adam's of both orders, and its count for each edge."""
  found = (
    optax.tree_utils.tree_get(state.opt, name)['alphas']
    for name in ('mu', 'nu', 'count')
  )
  return [table(x) for x in found]


@pytest.mark.parametrize('mode', MODES)
def test_updates_of_the_alphas(mode):
  """Edges whose `none` is drawn rest, and their moments and count."""
  before = GOLDEN['edge_alpha']
  for t, (state, adam, grads) in enumerate(sequence(mode, mode, 0.0)):
    told = {
      name: GOLDEN[f'seq_{mode}_{name}'][t]
      for name in ('before', 'grad_alpha', 'after_adam', 'after')
    }
    close(before, told['before'])
    close(grads, np.nan_to_num(told['grad_alpha']))
    close(adam, told['after_adam'])
    after = table(state.params['alphas'])
    close(after, told['after'])
    m, v, count = moments(state)
    close(m, GOLDEN[f'seq_{mode}_m'][t])
    close(v, GOLDEN[f'seq_{mode}_v'][t])
    np.testing.assert_array_equal(count[:, 0], GOLDEN[f'seq_{mode}_count'][t])
    active = GOLDEN[f'seq_{mode}_active'][t]
    np.testing.assert_array_equal(after[active == NONE], before[active == NONE])
    if mode == 'two':
      both = np.stack([active, GOLDEN['seq_two_inactive'][t]], axis=-1)
      old, new = (np.array(jax.nn.softmax(a)) for a in (before, after))
      for p in (old, new):
        np.put_along_axis(p, both, 0.0, axis=-1)
      np.testing.assert_allclose(new, old, rtol=0, atol=1e-12)
    before = after


def test_with_momentum_other_operations_coast():
  """The control."""
  coasted = False
  start = GOLDEN['edge_alpha']
  for t, (state, _, _) in enumerate(sequence('two_beta05', 'two', 0.5)):
    after = table(state.params['alphas'])
    close(after, GOLDEN['seq_two_beta05_after'][t])
    m, _, _ = moments(state)
    close(m, GOLDEN['seq_two_beta05_m'][t])
    both = [GOLDEN[f'seq_two_beta05_{x}'][t] for x in ('active', 'inactive')]
    old, new = (np.array(jax.nn.softmax(a)) for a in (start, after))
    for p in (old, new):
      np.put_along_axis(p, np.stack(both, axis=-1), 0.0, axis=-1)
    coasted |= np.abs(new - old).max() > 1e-6
    start = after
  assert coasted


def test_weight_steps_move_what_is_drawn_alone():
  lr = GOLDEN['wstep_lr']
  rates = {'weights_lr': lr, 'weights_lr_min': lr}
  rates |= {'weights_decay': GOLDEN['wstep_wd'], 'weights_momentum': 0.9}
  tables = {'scale': EDGE['op_scale'], 'shift': EDGE['op_shift']}
  state, parts = begin('two', EDGE['alpha'], **rates, **tables)
  for t, index in enumerate(GOLDEN['wstep_index']):
    x, target = (jnp.asarray(GOLDEN[f'wstep_{n}'][t]) for n in ('x', 'target'))
    mix = sample('two', state.params['alphas'], 'weights', index)

    def loss(params, mix=mix, x=x, target=target):
      return jnp.mean((run(params, mix, x) - target) ** 2)

    grads = jax.grad(loss)(state.params['weights'])
    state = search.turn_weights(state, grads, mix, parts)
    for name in tables:
      found = np.zeros((EDGES, OPERATIONS))
      for e, o in np.ndindex(EDGES, NONE):
        own = state.params['weights'][f'cell{e}']['from0'][NAMES[o]]
        found[e, o] = own[name][0]
      told = GOLDEN[f'wstep_{name}'][t]
      close(found[:, :NONE], told[:, :NONE])


def test_when_the_alphas_move():
  told = GOLDEN['sched_arch_updates_n23_every5']
  method = methods.make('proxylessnas', {'every': 5})
  assert methods.options('proxylessnas')['every'] == 5
  now = given.now(0, 1)._replace(step=jnp.arange(len(told)))
  np.testing.assert_array_equal(method.moves(now), told)
  told = GOLDEN['sched_arch_updates_n10_every3_steps2']
  method = methods.make('proxylessnas', {'every': 3})
  now = now._replace(step=jnp.arange(len(told)))
  np.testing.assert_array_equal(method.moves(now), told > 0)


@pytest.mark.parametrize('name', ['train_E120', 'warmup_E40'])
def test_the_learning_rate_at_the_epochs_starts(name):
  told = GOLDEN[f'sched_lr_{name}_n4'][::4]
  epochs = np.arange(len(told))
  close(optimizers.cosine(told[0], 0.0, epochs, len(told)), told)


def test_what_is_found():
  alphas, method = GOLDEN['final_alpha'], methods.make('proxylessnas', {})
  space = spaces.Space('five', NAMES, 2, 2, ('normal',))
  assert len(space.edges) == len(alphas)
  arch = given.arch({'normal': alphas})
  mix = {k: np.asarray(p) for k, p in method.relax(arch, None).items()}
  graph = method.discretize(space, arch, mix).graphs['normal']
  found = {
    (operation, (source, node))
    for node, pairs in zip(space.targets, graph.nodes, strict=True)
    for operation, source in pairs
  }
  told = zip(GOLDEN['final_op'], space.edges, strict=True)
  assert found == {(NAMES[o], edge) for o, edge in told if o != NONE}

"""GOLD-NAS against sunsmarterjie/GOLD_NAS, which is not the authors'.

Its network has an auxiliary head in search, and ours has not: in the loop that
head's rows stand beside the others. Its constant for what the network takes
without any operation is not that of ours, nor a count of anything told.
"""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import split
from sdnas_jax.methods import closing
from sdnas_jax.methods import costs
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests import toys
from tests.golden import filling
from tests.golden import given
from tests.golden import toy

GOLDEN = filling.load('gold_nas')
SPACE = SPACES['gold']
ETA = float(GOLDEN['penalty/eta_min'])
METHOD = methods.make('gold_nas', {})
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


class Net(supernet.Supernet):
  """Of so many cells, some of which reduce."""

  reduce: tuple[int, ...] = ()

  @property
  def cells(self):
    return tuple(
      'reduce' if n in self.reduce else 'normal' for n in range(self.layers)
    )


def net(layers, reduce):
  return Net(
    SPACE, 10, channels=36, layers=layers, per_cell=True, reduce=reduce
  )


def architecture(own, cells, method=METHOD):
  """With the alphas of all cells, of a supernet."""
  arch = method.init(np.random.default_rng(0), own, 1.0)
  assert not any(a.any() for a in arch.alphas.values())
  return arch._replace(alphas=tables(own, cells))


def tables(own, cells):
  """By kind, of what is in the network's order."""
  numbers = own.numbers
  return {k: jnp.asarray(cells[np.array(n, int)]) for k, n in numbers.items()}


def in_order(own, found):
  """The reverse."""
  return closing.stacked(jax.device_get(found), own.numbers)


FIVE = net(5, (1, 3))


def test_costs():
  """They are what the supernet takes besides what it takes without them."""
  whole = supernet.Supernet(SPACE, 10, channels=36, layers=14, per_cell=True)
  found = in_order(whole, costs.tables(whole))
  close(found, GOLDEN['cost/C36_L14'])
  close(found.sum(), GOLDEN['cost/all_alive_C36_L14'])
  close(in_order(FIVE, costs.tables(FIVE)), GOLDEN['penalty/cost'])
  small = whole.clone(channels=4, layers=4)
  mix = {kind: jnp.ones(shape) for kind, shape in small.tables.items()}
  macs = sizing.macs(small, (32, 32, 3), mix)
  own = sum(c.sum() for c in costs.tables(small).values())
  close(own + costs.base(small), macs / 1e6)


@pytest.mark.parametrize('channels', [16, 36])
def test_sizes(channels):
  own = supernet.Supernet(
    SPACE, 10, channels=channels, layers=14, per_cell=True
  )
  mix = {kind: jnp.ones(shape) for kind, shape in own.tables.items()}
  params = sizing.shapes(own, (32, 32, 3), mix)['params']
  assert sizing.size(params) == GOLDEN[f'count/supernet_C{channels}_L14']


@pytest.mark.parametrize('mu', ['0', '0.05'])
def test_the_penalty_and_its_gradient(mu):
  method = methods.make('gold_nas', {'mu': float(mu), 'eta_min': ETA})
  arch = architecture(FIVE, GOLDEN['penalty/alpha'], method)
  arch = arch._replace(own=arch.own | {'lam': jnp.ones(())})

  def value(alphas):
    return method.penalty(arch._replace(alphas=alphas), None, None)

  found, grads = jax.jit(jax.value_and_grad(value))(arch.alphas)
  close(found, GOLDEN[f'penalty/value_mu{mu}'])
  close(in_order(FIVE, grads), GOLDEN[f'penalty/grad_mu{mu}'])


def test_what_is_open_and_what_it_costs():
  arch = architecture(FIVE, GOLDEN['penalty/alpha'])
  each = {k: rest for k, *rest in closing.shares(arch, ETA)}
  s, r, n = (
    in_order(FIVE, {k: rest[i] for k, rest in each.items()}) for i in range(3)
  )
  targets = np.asarray(arch.own['targets']) - SPACE.inputs
  alive, cost = GOLDEN['penalty/alive'], GOLDEN['penalty/cost']
  np.testing.assert_array_equal(r > ETA, alive)
  np.testing.assert_array_equal(
    n[..., 0], GOLDEN['penalty/node_alive'][:, targets]
  )
  total = s.sum(axis=-1)
  for node, told in enumerate(GOLDEN['penalty/node_sum'].T):
    close(total[:, targets == node].sum(axis=1), told)
  mix = in_order(FIVE, METHOD.relax(arch, None))
  close(mix, np.where(alive, s, 0))
  close(cost[alive].sum(), GOLDEN['penalty/flops_intended'])
  # As released, all of a node's edges but its first count, unless s is 0.
  first = np.diff(targets, prepend=-1)[:, None] > 0
  counted = np.where(first, alive, s > 0)
  close(cost[counted].sum(), GOLDEN['penalty/flops_released'])
  assert (counted != alive).any()


def test_genotype():
  """Of all that is open, where none closes."""
  method = methods.make('gold_nas', {'eta_min': ETA, 'eta_max': ETA})
  arch = architecture(FIVE, GOLDEN['penalty/alpha'], method)
  found = method.discretize(SPACE, jax.device_get(arch), None)
  rows = [
    (n, SPACE.primitives.index(op), source, node)
    for n, graph in enumerate(found.graphs.values())
    for op, source, node in graph.edges
  ]
  np.testing.assert_array_equal(rows, GOLDEN['genotype/rows'])
  for graph in found.graphs.values():
    np.testing.assert_array_equal(graph.outputs, GOLDEN['genotype/concat'])
  text = str(GOLDEN['genotype/first_cell_text'])
  listed = json.loads(
    text.replace('(', '[').replace(')', ']').replace("'", '"')
  )
  names = dict(
    zip(('skip_connect', 'sep_conv_3x3'), SPACE.primitives, strict=True)
  )
  own = [[op, source, node] for op, source, node in found.graphs['cell0'].edges]
  assert own == [[names[op], *rest] for op, *rest in listed]
  assert type(found).read(json.loads(json.dumps(found.fields))) == found


def test_a_cell_in_which_operations_die_for_good():
  own = net(1, ())
  alike = SPACE._replace(primitives=('one', 'two'))
  tables_ = [GOLDEN['cell/scale'], GOLDEN['cell/shift']]
  s0, s1, R = (jnp.asarray(GOLDEN[f'cell/{n}']) for n in ('s0', 's1', 'R'))
  arch = architecture(own, GOLDEN['cell/alpha'][:1])
  for t, alphas in enumerate(GOLDEN['cell/alpha']):
    arch = arch._replace(alphas=tables(own, alphas[None]))
    # What is closed in a pass is so in it, and in all that follow.
    arch = arch._replace(own=METHOD.remember(arch, None))

    def out(alphas, arch=arch):
      mix = METHOD.relax(arch._replace(alphas=alphas), None)
      mix = {kind: p[0] for kind, p in mix.items() if len(p)}
      inputs = (x[:, None, None] for x in (s0, s1))
      y = toy.darts(alike, tables_, *inputs, mix).reshape(R.shape)
      return jnp.sum(R * y), y

    (_, y), grads = jax.value_and_grad(out, has_aux=True)(arch.alphas)
    close(y, GOLDEN['cell/out'][t])
    close(grads['normal'][0], GOLDEN['cell/grad_alpha'][t])
    dead = arch.own['dead']['normal'][0]
    np.testing.assert_array_equal(dead, GOLDEN['cell/is_zero_after'][t])
  (_, _, r, _) = next(closing.shares(arch, ETA))
  assert np.any(dead & np.asarray(r[0] > ETA))  # risen, and still 0


def forgetful(s, targets, passes, least, most):
  """As released: a node's sum is that of its first edge alone, then 0."""
  s, rows = s.copy(), []
  first = np.flatnonzero(np.diff(targets, prepend=-1))
  for _ in range(passes):
    sums = np.array([np.bincount(targets, c.sum(axis=-1)) for c in s])
    others = []
    for at in map(tuple, np.argwhere(s > 0).tolist()):
      node = at[0], targets[at[1]]
      if at[1] not in first:
        continue  # over 0, and so never small
      r = s[at] / sums[node]
      if r > least:
        others.append((r, at))
      elif r > closing.CLOSED:
        sums[node] -= s[at]
        s[at] = 0
        rows.append(at)
    r, at = min(others)
    if r <= most:
      s[at] = 0
      rows.append(at)
  return np.array(rows, int).reshape(-1, 3)


RULES = {'intended': closing.closed, 'released': forgetful}


@pytest.mark.parametrize('of', RULES)
def test_what_closes_at_once(of, monkeypatch):
  """As released, another rule."""
  monkeypatch.setattr(closing, 'closed', RULES[of])
  own = net(3, (1,))
  arch = architecture(own, GOLDEN['prune/alpha'])
  rows, _ = METHOD.revise.__self__.close(jax.device_get(arch))
  assert len(rows) == GOLDEN[f'prune/{of}/count']
  np.testing.assert_array_equal(rows, GOLDEN[f'prune/{of}/rows'])
  before = in_order(own, arch.alphas)
  found = METHOD.revise(given.past([{}], 9), jax.device_get(arch), None)
  fallen = before - in_order(own, found.arch.alphas)
  np.testing.assert_array_equal(np.argwhere(fallen), sorted(rows.tolist()))
  assert set(fallen[fallen != 0]) == {closing.DROP}


@pytest.mark.parametrize('of', RULES)
def test_a_whole_search(of, monkeypatch):
  """Prices, closings, costs and end of epochs that move the alphas somehow."""
  monkeypatch.setattr(closing, 'closed', RULES[of])
  own = net(6, (2, 4))
  told = {
    name.rsplit('/', 1)[1]: x
    for name, x in GOLDEN.items()
    if name.startswith(f'control/{of}/')
  }
  limit = float(GOLDEN['control/min_flops'])
  method = methods.make('gold_nas', {'min_flops': limit})
  cost = in_order(own, costs.tables(own))
  close(cost.sum(), GOLDEN['control/flops_all_alive'])
  arch = architecture(own, np.zeros_like(GOLDEN['control/velocity']), method)
  base = jnp.asarray(GOLDEN['control/base_flops'])
  arch = jax.device_get(arch._replace(own=arch.own | {'base': base}))
  assert method.revise(given.past([], 99), arch, None) is None
  quiet, sequence, pruned = 0, {}, []
  for epoch in range(len(told['finished'])):
    close(arch.own['lam'], told['lambda_used'][epoch])
    moved = GOLDEN['control/scale'][epoch] * GOLDEN['control/velocity']
    alphas = in_order(own, arch.alphas) + moved
    arch = arch._replace(alphas=jax.device_get(tables(own, alphas)))
    genotype = method.discretize(SPACE, arch, None)
    past = given.past([{}] * (epoch + 1), 99)
    revision = method.revise(past, arch, None)
    arch = revision.arch
    after = in_order(own, arch.alphas)
    fallen = np.argwhere(alphas - after > closing.DROP / 2)
    ours = told['pruned_rows'][told['pruned_rows'][:, 0] == epoch][:, 1:]
    assert fallen.tolist() == sorted(ours.tolist())
    assert len(fallen) == told['pruned_count'][epoch]
    pruned += [(epoch, *row) for row in ours]
    close(arch.own['lam'], told['lambda_after'][epoch])
    close(arch.own['step'], told['delta_after'][epoch])
    gone = after < -closing.DROP / 2
    np.testing.assert_array_equal(gone, told['is_pruned_after'][epoch])
    alive = opened(genotype)
    if of == 'intended':
      close(base + cost[alive].sum(), told['flops'][epoch])
      assert (revision.stop == epoch) == told['finished'][epoch]
    # The sequence of the paper: what is left when a quiet time ends.
    if len(fallen) and quiet > 3:
      sequence[epoch] = alive
    quiet = 0 if len(fallen) else quiet + 1
    assert quiet == told['quiet_after'][epoch]
  np.testing.assert_array_equal([*sequence], told['snapshot_epochs'])
  np.testing.assert_array_equal([*sequence.values()], told['snapshot_alive'])
  np.testing.assert_array_equal(pruned, told['pruned_rows'])
  other = next(name for name in RULES if name != of)
  there = GOLDEN[f'control/{other}/pruned_rows'].tolist()
  assert [[*map(int, row)] for row in pruned] != there


def opened(genotype):
  """[cells, edges, operations] of what a genotype has."""
  found = np.zeros((len(genotype.cells), *SPACE.shape), bool)
  for n, (_, graph) in enumerate(genotype.cells):
    for op, *edge in graph.edges:
      row = SPACE.edges.index(tuple(edge))
      found[n, row, SPACE.primitives.index(op)] = True
  return found


MAIN, HEAD = 5, 2  # copies of the rows of a head: the other's weight is 2 / 5
SHARE = MAIN / (MAIN + HEAD)


class Toy(supernet.Base):
  """The page's, with both heads' logits among the rows."""

  cells = ('normal',) * len(GOLDEN['loop/alpha0'])

  @nn.compact
  def __call__(self, images, mix, train=False, present=None):
    self.variable('batch_stats', 'none', jnp.zeros, ())
    zeros, shape = nn.initializers.zeros, GOLDEN['loop/W0'].shape
    W, head = (self.param(name, zeros, shape) for name in ('W', 'Waux'))
    s0 = s1 = images[: len(images) // (MAIN + HEAD)]
    for own, c in zip(mix['normal'], GOLDEN['loop/c'], strict=True):
      u = jnp.sum(own * c)
      s0, s1 = s1, jnp.tanh(0.7 * s1 + 0.3 * u * s0)
    return jnp.concatenate([s1 @ W.T] * MAIN + [s1 @ head.T] * HEAD)


def test_loop():
  """Six joint steps of both groups, by SGD."""
  parts = dataclasses.replace(
    toys.setup(METHOD, weight=0.0),
    net=Toy(SPACE, 5, per_cell=True),
  )
  assert parts.alpha_optimizer is optimizers.OPTIMIZERS['sgd']
  arch = METHOD.init(np.random.default_rng(0), FIVE, 0.0)
  empty = np.zeros((0, *SPACE.shape))
  both = {'normal': GOLDEN['loop/alpha0'], 'reduce': empty}
  own = arch.own | {
    'dead': {kind: jnp.zeros(x.shape, bool) for kind, x in both.items()},
    'cost': jax.tree.map(jnp.zeros_like, both),
  }
  mask = {kind: jnp.ones(x.shape, bool) for kind, x in both.items()}
  arch = arch._replace(alphas=jax.tree.map(jnp.asarray, both), mask=mask)
  # The mean over both heads' rows is a share of the sum that is descended.
  rates = toys.RATES | {
    **{'weights.lr': 0.01 / SHARE, 'weights.lr_min': 0.01 / SHARE},
    **{'weights.clip': GOLDEN['loop/grad_clip'] * SHARE},
    **{'weights.momentum': 0.9, 'weights.decay': 3e-4 * SHARE},
    **{'alphas.lr': 1 / SHARE, 'alphas.b1': 0.9, 'alphas.decay': 0.0},
  }
  variables = {
    'params': {n: jnp.asarray(GOLDEN[f'loop/{n}0']) for n in ('W', 'Waux')},
    'batch_stats': {'none': jnp.zeros(())},
  }
  state = search.init(parts, variables, arch._replace(own=own), rates, 99, 5)
  for t, (x, y) in enumerate(
    zip(GOLDEN['loop/x'], GOLDEN['loop/y'], strict=True)
  ):
    rows = (MAIN + HEAD) * len(x)
    batch = split.Batch(
      jnp.asarray(np.tile(x, (MAIN + HEAD, 1))),
      jnp.asarray(np.tile(y, MAIN + HEAD), jnp.int32),
      jnp.arange(rows, dtype=jnp.int32),
      jnp.ones(rows, bool),
    )
    lam = jnp.asarray(GOLDEN['loop/lambda'][t] * SHARE)
    state = state._replace(own=state.own | {'lam': lam})
    # Theirs clips by the norm + 1e-6, ours by the norm.
    norm = GOLDEN['loop/clip_norm'][t]
    clip = GOLDEN['loop/grad_clip'] * SHARE * norm / (norm + 1e-6)
    clip = {'weights.clip': jnp.asarray(clip)}
    state = state._replace(rates=state.rates | clip)
    before = float(state.sums.loss)
    paid = METHOD.penalty(state.arch, None, None)
    new = filling.step(state, filling.KEY, batch, batch, parts)
    loss = (float(new.sums.loss) - before) / rows
    close((loss + paid) / SHARE, GOLDEN['loop/loss'][t])
    state = new
    for name in ('W', 'Waux'):
      own = state.params['weights'][name]
      np.testing.assert_allclose(own, GOLDEN[f'loop/{name}'][t], atol=1e-10)
    alphas = state.params['alphas']['normal']
    np.testing.assert_allclose(alphas, GOLDEN['loop/alpha'][t], atol=1e-10)

"""The spaces S1 to S4 of R-DARTS against the release.

What S4's noise is cannot be compared, for it is PyTorch's own random stream; so
the page fills it by a formula. Here `ops.noise`, which draws it, is replaced by
one that looks a draw's key up: each edge of each cell must have its own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.methods import arch as archs
from sdnas_jax.networks import derived
from sdnas_jax.networks import ops
from sdnas_jax.networks import sharing
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests import toys
from tests.golden import filling
from tests.golden import given
from tests.golden import pytorch

GOLDEN = filling.load('spaces_s1_s4')
CODES = GOLDEN['meta/op_names'].tolist()
NAMES = 's1', 's2', 's3', 's4'
DARTS = methods.make('darts', {})
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)


def lists(name, kind):
  """The page's operations of each edge."""
  return [[CODES[code] for code in own] for own in GOLDEN[f'ops/{name}_{kind}']]


def arch(name, tables):
  """An architecture of a space, of [14, k] alphas; those of no edge are 9."""
  net, alphas = supernet.Supernet(SPACES[name], 10), {}
  first = DARTS.init(np.random.default_rng(0), net, 1.0)
  for kind, table in tables.items():
    alphas[kind] = np.full(net.space.shape, 9.0)
    for row, own, values in zip(
      alphas[kind], lists(name, kind), table, strict=True
    ):
      row[[net.space.primitives.index(op) for op in own]] = values
  return first._replace(alphas=alphas)


def listed(space, kind, table):
  """[14, P] as the page's [14, k]: of each edge's own list."""
  return np.array(
    [
      [row[space.primitives.index(op)] for op in own]
      for row, own in zip(
        np.asarray(table), lists(space.name, kind), strict=True
      )
    ]
  )


@pytest.mark.parametrize('name', NAMES)
def test_the_operations_of_every_edge(name):
  space = SPACES[name]
  for kind in space.kinds:
    assert [list(own) for own in space.offered(kind)] == lists(name, kind)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('classes', [10, 100])
def test_sizes(name, classes):
  net = supernet.Supernet(SPACES[name], classes)
  mix = {k: jnp.zeros(shape) for k, shape in net.tables.items()}
  params = sizing.shapes(net, (32, 32, 3), mix)['params']
  told = GOLDEN[f'count/{name}_C16_L8_{classes}classes']
  assert sizing.size(params) == told


@pytest.mark.parametrize('name', NAMES)
def test_genotypes(name):
  space, kinds = SPACES[name], SPACES[name].kinds
  for case in range(len(GOLDEN[f'geno/{name}/case'])):
    tables = {k: GOLDEN[f'geno/{name}/alpha_{k}'][case] for k in kinds}
    own = arch(name, tables)
    mix = jax.device_get(DARTS.relax(own, given.now(0, 1)))
    found = DARTS.discretize(space, own, mix).graphs
    for kind in kinds:
      pairs = [pair for node in found[kind].nodes for pair in node]
      codes = [[CODES.index(op), source] for op, source in pairs]
      assert codes == GOLDEN[f'geno/{name}/{kind}'][case].tolist()
      assert found[kind].outputs == (2, 3, 4, 5)


def place(net, name):
  """Where we keep what the release calls so."""
  if '_ops' not in name:
    return filling.darts(pytorch.supernet(name, ()))
  _, cell, _, edge, *_ = name.split('.')
  kind, edge = net.cells[int(cell)], int(edge)
  own = pytorch.supernet(name, net.space.offered(kind)[edge]).split('/')
  (group,) = (g for g in net.space.groups(kind) if edge in g.edges)
  edges = len(group.edges)
  path, row = filling.mixed(*own[2:], group.edges.index(edge), edges)
  block = {'once': ops.ONCE, 'first': ops.TWICE, 'second': ops.TWICE}
  members = block.get(path.split('/')[0], {})
  small = f'{own[2][:-3]}3x3'
  if row >= edges and small in members and small not in group.primitives:
    row -= edges  # the 5x5 ones stack alone
  return f'cell{cell}/{group.name}/{path}', row


def values(name):
  """(name, values) of the page's parameters."""
  page = f'net/{name}/param'
  pairs = zip(GOLDEN[f'{page}_names'], GOLDEN[f'{page}_shapes'], strict=True)
  for t, (full, shape) in enumerate(pairs):
    numbers = shape.strip('()').replace(' ', '').split(',')
    shape = tuple(int(n) for n in numbers if n)
    x = filling.h(t, GOLDEN['meta/seed_s'], 0.5, shape)
    yield full, 1 + x if full == 'stem.1.weight' else x


def looked_up(net, key):
  """An `ops.noise` that gives the page's draws, by the keys of their places."""
  seed, shapes = GOLDEN['meta/seed_s'] + 7, GOLDEN['net/s4/noise_shapes']
  edges, keys, draws = len(net.space.edges), {}, {}
  for cell, kind in enumerate(net.cells):
    for n, group in enumerate(net.space.groups(kind)):
      drawn = [
        filling.last(filling.h(t, seed, 2.0, shapes[t]))
        for t in (edges * cell + edge for edge in group.edges)
      ]
      at = jax.random.fold_in(jax.random.fold_in(key, cell), n)
      shape = np.shape(drawn)
      keys.setdefault(shape, []).append(jax.random.key_data(at))
      draws.setdefault(shape, []).append(np.stack(drawn))

  def noise(key, x, stride, edges):
    shape = edges, *x[0, :, ::stride, ::stride].shape
    same = jnp.all(
      jnp.stack(keys[shape]) == jax.random.key_data(key)[None], axis=1
    )
    found = jnp.stack(draws[shape])[jnp.argmax(same)]
    return jnp.where(jnp.any(same), found, jnp.nan)

  return noise


@pytest.fixture
def given_noise(monkeypatch):
  """Replaces the noise of the networks traced in a test."""

  def replace(net, key):
    monkeypatch.setattr(ops, 'noise', looked_up(net, key))
    sharing._apply.clear_cache()

  yield replace
  sharing._apply.clear_cache()


@pytest.mark.parametrize('name', NAMES)
def test_the_supernet(name, given_noise):
  net = supernet.Supernet(SPACES[name], 10, channels=4, layers=5)
  kinds, more = net.space.kinds, {}
  variables = filling.fill(net, values(name), functools.partial(place, net))
  if name == 's4':
    more = {'noise': filling.KEY}
    given_noise(net, filling.KEY)
  assert sizing.size(variables['params']) == GOLDEN[f'net/{name}/param_count']
  batch = filling.ready(GOLDEN['net/x'], GOLDEN['net/labels'])
  own = arch(name, {k: GOLDEN[f'net/{name}/alpha_{k}'] for k in kinds})

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(w, alphas):
    mix = DARTS.relax(own._replace(alphas=alphas), given.now(0, 1))
    stats = variables['batch_stats']
    logits, _ = search.forward(net, w, stats, batch, mix | more)
    return totals.cross_entropy(logits, batch), logits

  (value, logits), (of_w, of_a) = loss(variables['params'], own.alphas)
  close(logits, GOLDEN[f'net/{name}/logits'])
  close(value, GOLDEN[f'net/{name}/loss'])
  for kind in kinds:
    told = GOLDEN[f'net/{name}/grad_alpha_{kind}']
    close(listed(net.space, kind, of_a[kind]), told)
    assert not of_a[kind][~own.mask[kind]].any()
  squares = sum(np.sum(g**2) for g in jax.tree.leaves(of_w))
  close(np.sqrt(squares), GOLDEN[f'net/{name}/param_grad_global_l2'])


def test_a_softmax_over_all_operations_is_another_mix():
  """The control: over what other edges have besides."""
  tables = {k: GOLDEN[f'net/s1/alpha_{k}'] for k in ('normal', 'reduce')}
  own = arch('s1', tables)
  mask = {k: np.ones_like(m) for k, m in own.mask.items()}
  now = given.now(0, 1)
  right, wrong = (
    archs.softmax(a, now)['normal'] for a in (own, own._replace(mask=mask))
  )
  told = np.exp(tables['normal'])
  told /= told.sum(axis=1, keepdims=True)
  close(listed(SPACES['s1'], 'normal', right), told)
  apart = np.abs(listed(SPACES['s1'], 'normal', wrong) - told)
  assert apart.max(axis=1).min() > 1e-3


@pytest.mark.parametrize('share', ['0.2', '0.4', '0.6'])
def test_the_schedule_of_drop_path(share):
  setup = toys.setup(epochs=len(GOLDEN['schedule/epoch']))
  setup = setup.replace(drop_path=float(share))
  state = toys.state(setup)
  keys = jax.random.split(filling.KEY, 3)
  rate = jax.jit(
    lambda e: search.beside(state._replace(epoch=e), keys, setup, 'weights')[
      'drop_path'
    ][1]
  )
  found = [rate(epoch) for epoch in GOLDEN['schedule/epoch']]
  close(found, GOLDEN[f'schedule/drop_path_{share}'])


def test_the_noise_of_a_derived_network_is_of_every_place_and_pass():
  pairs = {n: [('noise', 0), ('sep_conv_3x3', 1)] for n in (2, 3)}
  found = spaces.Genotype.of(SPACES['s4'], {'normal': pairs, 'reduce': pairs})
  net = derived.Derived(found, 10, 4, 3, auxiliary=False)
  images = jnp.zeros((2, 8, 8, 3))
  variables = net.init(filling.KEY, images)
  keys = jax.random.split(filling.KEY, 2)
  one, same, other = (
    net.apply(variables, images, key=key) for key in (keys[0], keys[0], keys[1])
  )
  np.testing.assert_array_equal(one, same)
  assert np.abs(one - other).max() > 1e-3
  fixed = net.apply(variables, images)
  np.testing.assert_array_equal(fixed, net.apply(variables, images))

"""U-DARTS against Sun-Shiqi/U-DARTS: gates, costs, terms, schedules, genotypes.

Not compared is what needs its long links between cells, which are not here:
their gates, joins and choices, the counts of networks that have them, and the
small network with its gradients and two iterations, of which they are a part.
Nor are its random draws; what it drew is put in their place.
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import hypergrad
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import split
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import costs
from sdnas_jax.methods import subnetworks
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import totals
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('u_darts')
SPACE = SPACES['darts']
METHOD = methods.make('u_darts', {})
NET = supernet.Supernet(SPACE, 10, layers=len(GOLDEN['alpha']), **METHOD.model)
OPERATIONS = np.arange(len(SPACE.primitives))
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


def by_kind(cells):
  """What is in the network's order, as tables of each kind."""
  return {k: jnp.asarray(cells[np.array(n)]) for k, n in NET.numbers.items()}


def in_order(tables):
  numbers = NET.numbers
  order = np.argsort(np.concatenate([numbers[k] for k in tables]))
  return np.concatenate([np.asarray(x) for x in tables.values()])[order]


def architecture(alpha):
  arch = METHOD.init(np.random.default_rng(0), NET, 1e-3)
  return arch._replace(alphas=by_kind(alpha))


@pytest.fixture
def drawn(monkeypatch):
  """The page's path, for every draw."""
  path = by_kind(GOLDEN['path'][..., None] == OPERATIONS)
  monkeypatch.setattr(subnetworks, 'drawn', lambda arch, now, period: path)
  return path


def test_costs():
  names = [str(name) for name in GOLDEN['op_names']]
  depth = [costs.blocks(name)[0] for name in SPACE.primitives]
  assert len(names) == len(SPACE.primitives)
  np.testing.assert_array_equal(depth, GOLDEN['op_depth'])
  close(costs.deep(SPACE)[0, 0], GOLDEN['op_cost'])
  weights = (costs.deep(SPACE)[0, 0] - 1 / (1 + np.array(depth))) / 0.1
  told = GOLDEN['op_params_C36']
  close(weights * told.sum(), told, atol=1e-8)


def test_first_gates():
  normal = by_kind(GOLDEN['init_normal'])
  numbers = iter([normal[kind] for kind in NET.tables])
  rng = types.SimpleNamespace(
    standard_normal=lambda shape: np.asarray(next(numbers)),
    integers=np.random.default_rng(0).integers,
  )
  arch = METHOD.init(rng, NET, 1e-3)
  found = in_order(arch.alphas)
  np.testing.assert_allclose(found, GOLDEN['init_alpha'], rtol=1e-6)


def test_gates_are_the_alphas_on_the_path(drawn):
  """There is no sigmoid in a forward pass."""
  assert GOLDEN['net_gates_change_in_forward'] == 0
  arch, now = architecture(GOLDEN['alpha']), given.now(0, 1)
  for group in ('alphas', 'weights'):
    mix = in_order(METHOD.draw(filling.KEY, arch, now, group))
    path = GOLDEN['path'][..., None]
    gates = np.take_along_axis(mix, path, axis=-1)[..., 0]
    close(gates, GOLDEN['gates'])
    assert not np.where(OPERATIONS == path, 0, mix).any()
  sigmoid = jax.nn.sigmoid(jnp.asarray(GOLDEN['gates']))
  assert not np.allclose(sigmoid, GOLDEN['gates'])


def test_the_loss_of_the_alphas(drawn):
  arch, now = architecture(GOLDEN['alpha']), given.now(0, 1)

  def value(alphas):
    own = arch._replace(alphas=alphas)
    mix = METHOD.draw(filling.KEY, own, now, 'alphas')
    return METHOD.penalty(own, mix, now)

  paid, grads = jax.value_and_grad(value)(arch.alphas)
  close(paid, GOLDEN['reg_value'])
  path = GOLDEN['path'][..., None]
  grads = in_order(grads)
  of_gates = np.take_along_axis(grads, path, axis=-1)[..., 0]
  close(of_gates, GOLDEN['reg_grad_gates'])
  close(of_gates / GOLDEN['reg_coef'], GOLDEN['op_cost'][path[..., 0]])
  assert not np.where(OPERATIONS == path, 0, grads).any()
  labels = GOLDEN['reg_labels']
  batch = split.Batch(
    *(None, jnp.asarray(labels), None, jnp.ones(len(labels), bool))
  )
  both = [
    totals.cross_entropy(jnp.asarray(GOLDEN[f'reg_{n}']), batch)
    for n in ('logits', 'logits_aux')
  ]
  close(both, [GOLDEN['reg_ce'], GOLDEN['reg_ce_aux']])
  # 0.4 is the weight of the auxiliary head, which is not here.
  close(both[0] + 0.4 * both[1] + paid, GOLDEN['reg_total_loss'])


def test_only_what_is_drawn_moves(drawn):
  """The write-back, after each step."""
  before = architecture(GOLDEN['alpha'])
  path = GOLDEN['path'][..., None] == OPERATIONS
  after = np.where(path, GOLDEN['wb_gates'][..., None], GOLDEN['alpha'] + 1)
  now = given.now(0, 1)
  found = METHOD.settle(filling.KEY, before, by_kind(after), now)
  close(in_order(found), GOLDEN['wb_alpha'])
  mix = METHOD.draw(filling.KEY, before, now, 'weights')
  held = in_order(METHOD.held(before.own, mix))
  np.testing.assert_array_equal(held, ~path)


@pytest.mark.parametrize('batch', [64, 100, 16])
def test_when_paths_are_drawn(batch):
  steps = int(GOLDEN[f'sched_steps_b{batch}'])
  now = archs.Now(jnp.arange(steps), jnp.asarray(3), jnp.asarray(100))
  at = np.flatnonzero(METHOD.restarts(now))
  np.testing.assert_array_equal(at, GOLDEN[f'sched_resample_b{batch}'])
  arch = METHOD.init(np.random.default_rng(0), NET, 0.0)

  @jax.jit
  def path(step, epoch):
    own = archs.Now(step, epoch, jnp.asarray(100))
    mix = METHOD.draw(filling.KEY, arch, own, 'weights')
    return jax.tree.map(lambda p: p != 0, mix)

  # One path from each of those steps to the next, and in no epoch the same.
  ends = [*at[1:], steps]
  found = {}
  for first, end in zip(at, ends, strict=True):
    one, two = (
      in_order(path(jnp.asarray(s), jnp.asarray(3))) for s in (first, end - 1)
    )
    np.testing.assert_array_equal(one, two)
    assert (one.sum(axis=-1) == 1).all()
    found[one.tobytes()] = first
  other = in_order(path(jnp.asarray(0), jnp.asarray(4)))
  assert other.tobytes() not in found and len(found) == len(at)
  back = GOLDEN[f'sched_writeback_b{batch}']
  assert {end - 1 for end in ends} <= {*back.tolist()}


def test_all_operations_are_drawn_as_often():
  arch = METHOD.init(np.random.default_rng(0), NET, 0.0)

  def path(epoch):
    return subnetworks.drawn(arch, given.now(epoch, 1), 100)

  drawn = jax.jit(jax.vmap(path))(jnp.arange(50))
  for on in drawn.values():
    n = on.size // len(OPERATIONS)
    share, p = np.asarray(on).mean(axis=(0, 1, 2)), 1 / len(OPERATIONS)
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n)).all()


def test_schedule():
  told = GOLDEN['sched_lr_E100']
  lr = [optimizers.cosine(0.025, 0.001, e, len(told)) for e in range(len(told))]
  close(np.array(lr), told)
  assert METHOD.hypergrad is hypergrad.second_order


def test_genotype():
  arch = jax.device_get(architecture(GOLDEN['geno_alpha']))
  mix = jax.device_get(METHOD.relax(arch, None))
  found = METHOD.discretize(SPACE, arch, mix)
  assert [*found.graphs] == [f'cell{n}' for n in range(NET.layers)]
  for told, graph in zip(GOLDEN['geno'], found.graphs.values(), strict=True):
    np.testing.assert_array_equal(given.numbers(SPACE, graph), told)

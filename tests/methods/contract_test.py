"""What every method keeps, with distillation and without.

All search DARTS's kind of space where they can. Those that do something new to
the network or to a batch search NAS-Bench-201's too, and have the same losses,
gradients and ring on one device as on eight.
"""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from optax.tree_utils import tree_get
import pytest

from sdnas_jax import methods
from sdnas_jax import parallel
from sdnas_jax.data import split
from sdnas_jax.networks import columns
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.runs import checkpoints
from sdnas_jax.runs import record
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests import toys

# Of two channels; of two steps an epoch; of nodes that 21 operations enter.
OPTIONS = {
  **{'pc_darts': {'k': 2}, 'shapley_nas': {'k': 2}},
  'proxylessnas': {'every': 1},
  'gold_nas': {'eta_max': 0.02},
}
# What they draw has no derivative, and not all edges.
PATHS = 'spos', 'fairnas', 'random_ws', 'enas'
FIELDS = {
  **{'model.channels': 2, 'sharpness.every': 2, 'sharpness.of': 'alphas'},
  'weights.drop_path': 0.0,
}
NETS = {
  'darts': lambda model: toys.setup().net.clone(**model),
  # XLA's own convolutions, for they compile in half the time of the others.
  'nasbench201': lambda model: nasbench201.Supernet(
    *(SPACES['nasbench201'], toys.CLASSES),
    **{'channels': 2, 'layers': 1, 'depthwise': 'grouped'},
    **model,
  ),
}
SIDE = {'darts': 6, 'nasbench201': 8}
STEPS, EXAMPLES = 2, 12  # an epoch: batches of 8
MADE = {
  name: methods.make(name, OPTIONS.get(name, {}))
  for name in sorted(methods.METHODS)
}
# Those whose compiled functions are the same share a program.
KINDS = [jax.tree.structure(method) for method in MADE.values()]
CASES = [
  (name, space)
  for space in NETS
  for name, method in sorted(
    MADE.items(), key=lambda one: KINDS.index(jax.tree.structure(one[1]))
  )
  if not method.refuse(SPACES[space], FIELDS)
]
run = jax.jit(search.advance, out_shardings=parallel.everywhere())
KEY = jax.random.key(0)
NOW = search.archs.Now(jnp.asarray(0), jnp.asarray(1), jnp.asarray(2))
# What in a method meets the network, and what meets a batch besides; all else
# is of tables alone, which are the same on any space or number of devices.
NETWORK = 'perturb', 'observe', 'held'
BATCH = 'hypergrad', 'descend', 'turn', 'criterion'


@pytest.fixture(autouse=True)
def one_stage(monkeypatch):
  """Of NAS-Bench-201's three, whose cells are alike, and each is compiled."""
  monkeypatch.setattr(nasbench201, 'STAGES', 1)


@functools.cache
def setup(name, space):
  method = MADE[name]
  parts = toys.setup(method)
  return dataclasses.replace(
    parts, net=NETS[space](dict(method.model)), steps=STEPS, epochs=2
  )


def firsts(space, hooks):
  """The cases whose `hooks`, supernet or way of dropping none has before."""
  found = {}
  for name in [name for name, own in CASES if own == space]:
    method, net = MADE[name], setup(name, space).net
    draw = functools.partial(method.draw, KEY, now=NOW, group='weights')
    arch = method.init(np.random.default_rng(0), net, 0.5)
    drops = jax.eval_shape(draw, arch).keys() - arch.mask.keys()
    alone = methods.Method(**{hook: getattr(method, hook) for hook in hooks})
    own = jax.tree.structure(alone), net, frozenset(drops)
    found.setdefault(own, (name, space))
  return [*found.values()]


@functools.cache
def halves(space):
  rng, side = np.random.default_rng(0), SIDE[space]

  def half():
    images = rng.integers(0, 256, (EXAMPLES, side, side, 2), np.uint8)
    labels = rng.integers(0, toys.CLASSES, EXAMPLES).astype(np.int32)
    return split.Split(jnp.asarray(images), jnp.asarray(labels))

  return half(), half()


def begin(parts, space):
  net = parts.net
  mix = {
    kind: jnp.zeros((*shape[:-1], columns.count(net)))
    for kind, shape in net.tables.items()
  }
  image = SIDE[space], SIDE[space], 2
  variables = sizing.variables(sizing.shapes(net, image, mix), 0)
  rng = np.random.default_rng(0)
  arch = parts.method.init(rng, net, 0.5)
  return search.init(parts, variables, arch, toys.RATES, EXAMPLES, toys.CLASSES)


def weigh(parts, weight):
  term = dataclasses.replace(parts.distill, weight=weight)
  return dataclasses.replace(parts, distill=term)


def epochs(state, space, parts, first, last):
  for epoch in range(first, last):
    fresh = parallel.replicate((np.int32(epoch), totals.zero()))
    state = state._replace(epoch=fresh[0], sums=fresh[1])
    state = run(state, KEY, *halves(space), STEPS * (epoch + 1), parts)
  return state


def steps(method):
  """Whether the alphas have any, and not what `revise` decides alone."""
  return bool(np.any(jax.tree.leaves(method.moves(NOW))))


def moved(before, after):
  pairs = zip(*map(jax.tree.leaves, (before, after)), strict=True)
  return any(not np.array_equal(a, b) for a, b in pairs)


WHOLE = [
  *(case for case in CASES if case[1] == 'darts'),
  *firsts('nasbench201', NETWORK),
]


@pytest.mark.parametrize('name, space', WHOLE)
def test_two_epochs(name, space, tmp_path):
  parts, compiled = setup(name, space), run._cache_size()
  first = parallel.replicate(begin(parts, space))
  for weight in (0.0, 1.0):
    end = epochs(first, space, weigh(parts, weight), 0, 2)
    assert int(end.step) == 2 * STEPS and int(end.sums.rows) == EXAMPLES
    assert int(end.sums.diverged) == totals.NEVER
    for leaf in jax.tree.leaves((end.params, end.stats)):
      assert np.isfinite(leaf).all()
    for group in ('weights', 'alphas')[: 1 + steps(parts.method)]:
      assert moved(first.params[group], end.params[group])
  assert run._cache_size() - compiled <= 1
  # A run that was stopped after its first epoch and came back.
  half = epochs(first, space, parts, 0, 1)
  checkpoints.Checkpoints(tmp_path).save(half, whole=True)
  like = jax.eval_shape(lambda: begin(parts, space))
  back = checkpoints.Checkpoints(tmp_path).latest(like)
  again = epochs(back, space, parts, 1, 2)
  whole = epochs(first, space, parts, 0, 2)
  jax.tree.map(np.testing.assert_array_equal, again, whole)


def look(name, space):
  """Gradients, loss and ring of a method's first step."""
  parts = setup(name, space)
  first = parallel.replicate(begin(parts, space))
  end = run(first, KEY, *halves(space), 1, parts)
  inner = {k: v.inner_state[2] for k, v in end.opt.inner_states.items()}
  # The optimisers' first moments after one step are the gradients themselves.
  moments = [tree_get(v, 'mu', tree_get(v, 'trace')) for v in inner.values()]
  leaves = jax.tree.leaves((moments, end.sums.loss, end.memory.probs))
  return {f'{name}/{space}/{n}': leaf for n, leaf in enumerate(leaves)}


APART = [*firsts('darts', NETWORK + BATCH), ('darts', 'nasbench201')]
# Methods whose searches have the same structure share a program.
SCRIPT = """
import sys
import tests.conftest
import jax
import numpy as np
from tests.methods import contract_test as contract

contract.nasbench201.STAGES = 1
found, kinds = {}, set()
for name, space in contract.APART:
  found |= contract.look(name, space)
  parts = contract.setup(name, space)
  kinds.add(jax.tree.structure((contract.begin(parts, space), parts)))
assert (jax.device_count(), contract.run._cache_size()) == (8, len(kinds))
np.savez(sys.argv[1], **found)
"""


@pytest.fixture(scope='module')
def eight(tmp_path_factory):
  """What `look` finds of every method in a process of eight devices."""
  path = tmp_path_factory.mktemp('eight') / 'found.npz'
  flags = '--xla_force_host_platform_device_count=8'
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(path)],
    cwd=pathlib.Path(__file__).parents[2],
    env={**os.environ, 'XLA_FLAGS': f'{os.environ["XLA_FLAGS"]} {flags}'},
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert done.returncode == 0, done.stderr
  with np.load(path) as file:
    return dict(file)


@pytest.mark.parametrize('name, space', APART)
def test_eight_devices_compute_what_one_does(name, space, eight):
  one = look(name, space)
  assert len(one) > 9
  for key, leaf in one.items():
    scale = np.abs(leaf).max()
    np.testing.assert_allclose(
      eight[key], leaf, rtol=1e-3, atol=1e-4 * scale + 1e-7
    )


@jax.jit
def seen(arch, method):
  """The mix of each use, and a derivative through the last."""

  def size(alphas):
    own = arch._replace(alphas=alphas)
    mix = method.draw(KEY, own, NOW, 'alphas')
    squares = sum(jnp.sum(mix[kind] ** 2) for kind in arch.mask)
    return squares + method.penalty(own, mix, NOW), mix

  grads, mix = jax.grad(size, has_aux=True)(arch.alphas)
  drawn = method.draw(KEY, arch, NOW, 'weights')
  return (method.relax(arch, NOW), drawn, mix), grads


@pytest.mark.parametrize('name, space', CASES)
def test_what_is_dead_has_no_weight_and_is_not_found(name, space):
  parts = setup(name, space)
  method, own = parts.method, parts.net.space
  rng = np.random.default_rng(1)
  arch = method.init(rng, parts.net, 1.0)
  dead = {k: (rng.random(m.shape) < 0.4) & m for k, m in arch.mask.items()}
  for mask in dead.values():
    mask[..., -1] = False  # one is always alive ...
    mask[..., 0, :] = True  # ... but for one edge
  arch = arch._replace(mask={k: arch.mask[k] & ~dead[k] for k in dead})
  mixes, grads = seen(arch, method)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  path = name in PATHS
  assert path != any(np.any(grads[kind] != 0) for kind in arch.mask)
  for drawn in mixes:
    for kind, mask in arch.mask.items():
      p = np.asarray(drawn[kind])[..., : mask.shape[-1]]
      mask = np.broadcast_to(mask, p.shape)  # which a mix a cell may share
      assert np.isfinite(p).all() and not p[~mask].any()
      some = p[..., 1:, :].sum(axis=-1) > 0
      assert some.any() if path else some.all()
  found = method.discretize(own, arch, jax.device_get(mixes[0]))
  fields = json.loads(json.dumps(found.fields))
  assert type(found).read(fields) == found
  tables, cells = dict(arch.mask), parts.net.cells
  for n, kind in enumerate(cells):
    tables[f'cell{n}'] = arch.mask[kind][cells[:n].count(kind)]
  for name, graph in found.graphs.items():
    for primitive, *edge in graph.live.edges:
      row = own.edges.index(tuple(edge))
      assert tables[name][row, own.primitives.index(primitive)]


def test_no_row_that_a_method_sees_has_a_truth():
  """Of a search on NAS-Bench-201's space, whose metrics have it."""
  row = {name: '0.5' for name in record.KNOWN} | {'epoch': '0'}
  row |= {'true_accuracy': '0.9', 'true_accuracy_cifar100': '0.7'}
  row |= {'seconds': '1.0', 'dominant_eigenvalue': ''}
  log = object.__new__(record.Record)
  log.table = type('Table', (), {'rows': [row]})
  log.found, log.history = [], {'epoch': np.arange(1), 'cell': np.ones((1, 2))}
  seen = log.past(0, {'weights.decay': 1.0}, 5)
  assert 'valid_accuracy' in seen.metrics[0]
  for name in seen.metrics[0]:
    assert not name.startswith('true') and name in record.KNOWN
  assert 'dominant_eigenvalue' not in seen.metrics[0]
  assert list(seen.alphas) == ['cell']

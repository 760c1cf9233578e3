"""DAAS against sunsmarterjie/DAAS: terms, gradients, cells, a loop, genotypes.

What its released end of an epoch prints is an error, and has no counterpart.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import split
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import edges
from sdnas_jax.methods import method
from sdnas_jax.methods.daas import logits
from sdnas_jax.methods.daas import ramps
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests import toys
from tests.golden import filling
from tests.golden import given
from tests.golden import toy

GOLDEN = filling.load('daas')
OPS = tuple(map(str, GOLDEN['meta/primitives']))
SPACE = spaces.Space('seven', OPS)
METHOD, DARTS = (methods.make(name, {}) for name in ('daas', 'darts'))
EPOCHS = len(GOLDEN['schedule/epoch'])
TARGETS = method.targets(SPACE)
SIZES = 3, 4, 5
LOSES = TARGETS > 2  # edges of nodes that lose some
close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


def joined(name, at=()):
  """[..., edges] of three arrays, of nodes with 3, 4 and 5 edges."""
  parts = [GOLDEN[f'{name}_{n}'][at] for n in SIZES]
  first = np.zeros((*parts[0].shape[:-1], 2))
  return np.concatenate([first, *parts], axis=-1)


def architecture(alpha, beta, at=()):
  """From tables named so, and kinds."""
  alphas = {kind: GOLDEN[f'{alpha}{kind}'][at] for kind in SPACE.kinds}
  mask = {kind: np.ones(SPACE.shape, bool) for kind in SPACE.kinds}
  betas = {f'{k}_betas': joined(f'{beta}{k}', at) for k in SPACE.kinds}
  alphas = jax.tree.map(jnp.asarray, alphas | betas)
  arch = METHOD.init(np.random.default_rng(0), given.net(SPACE), 0.0)
  assert alphas.keys() == arch.alphas.keys()
  return arch._replace(alphas=alphas, mask=mask)


def swapped(arch):
  """With the other kind's betas, as the release has it in its cells."""
  one, other = (f'{kind}_betas' for kind in SPACE.kinds)
  betas = {one: arch.alphas[other], other: arch.alphas[one]}
  return arch._replace(alphas=arch.alphas | betas)


def test_weights_and_their_derivatives():
  arch = architecture('alpha/', 'beta/')
  n = np.bincount(TARGETS)[TARGETS]
  for kind, mixed in METHOD.relax(arch, None).items():
    p, f = GOLDEN[f'p/{kind}'], logits(arch, kind)
    close(mixed, np.where(LOSES, n * joined(f'b/{kind}'), 1)[:, None] * p)
    close(f, GOLDEN[f'f/{kind}'])
    slope = jax.grad(
      lambda a, k=kind: jnp.sum(logits(arch._replace(alphas={k: a}), k))
    )
    close(slope(arch.alphas[kind]), GOLDEN[f'f_grad/{kind}'])
    # Of m: the sum of positive m, and its derivative where m is positive.
    beta, m = arch.alphas[f'{kind}_betas'], joined(f'beta_clamped/{kind}')
    _, total, _ = edges.weights(beta, TARGETS)
    summed = np.array([np.maximum(m[TARGETS == t], 0).sum() for t in TARGETS])
    close(total[LOSES], summed[LOSES])
    grads = jax.grad(lambda b: jnp.sum(edges.weights(b, TARGETS)[1] / n))(beta)
    own = joined(f'beta_clamped_grad/{kind}') * (m > 0)
    close(grads[LOSES], own[LOSES])


def test_schedules():
  for epoch in range(EPOCHS):
    now, told = given.now(epoch, EPOCHS), epoch
    assert GOLDEN['schedule/epoch'][epoch] == epoch + 1
    lin, log, _ = ramps(now)
    close(lin, GOLDEN['schedule/lin'][told])
    close(log, GOLDEN['schedule/log'][told])
    moves = METHOD.moves(now)
    for kind in SPACE.kinds:
      assert moves[kind] == (GOLDEN['schedule/lr_alpha'][told] > 0)
      assert moves[f'{kind}_betas'] == (GOLDEN['schedule/lr_beta'][told] > 0)
  lr = np.array(
    [optimizers.cosine(0.025, 0.001, e, EPOCHS) for e in range(EPOCHS)]
  )
  close(lr, GOLDEN['schedule/lr_weights'])


def test_other_numbers_of_epochs_have_the_same_course():
  """All end on both ramps' ends, and a few epochs have finite ones."""
  for epochs in (1, 2, 5, 100):
    lin, log, move = ramps(given.now(epochs - 1, epochs))
    assert move and np.isfinite([lin, log]).all()
    assert lin == (epochs > 1)
  assert float(ramps(given.now(98, 100))[1]) == 1


@jax.jit
def penalised(alphas, arch, now):
  own = arch._replace(alphas=alphas)
  return METHOD.penalty(own, None, now)


def test_the_penalty_and_its_gradient():
  arch = architecture('alpha/', 'beta/')
  both = jax.jit(jax.value_and_grad(penalised))
  for epoch in range(EPOCHS):
    value, grads = both(arch.alphas, arch, given.now(epoch, EPOCHS))
    told = [GOLDEN[f'loss/{name}_part'][epoch] for name in ('alpha', 'beta')]
    close(value, sum(told))
    close(value + GOLDEN['loss/ce'], GOLDEN['loss/total'][epoch])
    row = np.flatnonzero(GOLDEN['loss/grad_epochs'] == epoch + 1)
    for kind in SPACE.kinds if len(row) else ():
      close(grads[kind], GOLDEN[f'loss/grad_alpha_{kind}'][row[0]])
      own = joined(f'loss/grad_beta_{kind}', row[0])
      close(grads[f'{kind}_betas'], own)
  H = [GOLDEN[f'loss/entropy_alpha_{kind}'] for kind in SPACE.kinds]
  last = EPOCHS - 1
  weight = GOLDEN['schedule/weight_alpha_entropy'][last]
  close(weight * sum(H), GOLDEN['loss/alpha_part'][last])
  value, grads = jax.value_and_grad(
    lambda x: optax.softmax_cross_entropy_with_integer_labels(
      x, jnp.asarray(GOLDEN['loss/labels'])
    ).mean()
  )(jnp.asarray(GOLDEN['loss/logits']))
  close(value, GOLDEN['loss/ce'])
  close(grads, GOLDEN['loss/grad_logits'])


def test_far_alphas_have_finite_entropies_in_single_precision():
  """Where the released p log p is nan."""
  alphas = jnp.zeros((1, len(OPS)), jnp.float32).at[0, 0].set(-2.4)
  f = jnp.where(alphas == 0, 0, (2 * alphas) ** 3)
  assert np.isnan(jnp.exp(f) * jnp.log(jnp.exp(f))).any()
  mask = np.ones(alphas.shape, bool)
  value, grads = jax.value_and_grad(lambda f: jnp.sum(archs.entropy(f, mask)))(
    f
  )
  assert value == pytest.approx(np.log(len(OPS) - 1), rel=1e-6)
  assert np.isfinite(grads).all()


@pytest.mark.parametrize('of', ['unswapped', 'released'])
def test_cells(of):
  """As released, the betas are those of the other kind: another rule."""
  arch = architecture('alpha/', 'beta/')
  arch = arch if of == 'unswapped' else swapped(arch)
  tables, s0, s1, R = (
    [GOLDEN['cell/scale'], GOLDEN['cell/shift']],
    *(jnp.asarray(GOLDEN[f'cell/{name}']) for name in ('s0', 's1', 'R')),
  )
  alike = SPACE._replace(primitives=tuple(f'op{o}' for o in range(len(OPS))))
  other = dict(zip(SPACE.kinds, reversed(SPACE.kinds), strict=True))
  for kind in SPACE.kinds:

    def out(alphas, kind=kind):
      mix = METHOD.relax(arch._replace(alphas=alphas), None)
      given = (x[:, None, None] for x in (s0, s1))
      y = toy.darts(alike, tables, *given, mix, kind)
      return jnp.sum(R * y.reshape(R.shape)), y

    (_, y), grads = jax.value_and_grad(out, has_aux=True)(arch.alphas)
    close(y.reshape(R.shape), GOLDEN[f'cell/out_{kind}_{of}'])
    close(grads[kind], GOLDEN[f'cell/grad_alpha_{kind}_{of}'])
    owner = kind if of == 'unswapped' else other[kind]
    told = {
      n: GOLDEN[f'cell/grad_beta_{owner}_{n}_{kind}cell_{of}'] for n in SIZES
    }
    found = grads[f'{kind}_betas']
    close(found[LOSES], np.concatenate([*told.values()]))
    _, _, n = edges.weights(found, TARGETS)
    b = edges.shares(arch.alphas[f'{kind}_betas'], TARGETS) / n
    handed = joined(f'released_forward/b_in_{kind}_cell')
    assert np.allclose(b[LOSES], handed[LOSES]) == (of == 'released')
  one, two = (
    GOLDEN[f'cell/out_{SPACE.kinds[0]}_{name}']
    for name in ('unswapped', 'released')
  )
  assert not np.allclose(one, two)


def test_first_values():
  net = given.net(SPACES['darts'])
  arch = METHOD.init(np.random.default_rng(0), net, 0.0)
  for kind in SPACE.kinds:
    betas = arch.alphas[f'{kind}_betas']
    for n, told in zip(SIZES, GOLDEN['init/beta_base'], strict=True):
      own = np.bincount(TARGETS)[TARGETS] == n
      np.testing.assert_allclose(betas[own], told, rtol=1e-6)
    assert not betas[~LOSES].any() and not arch.alphas[kind].any()
  arch = METHOD.init(np.random.default_rng(0), net, 1e-4)
  assert 5e-5 < np.std(arch.alphas['normal']) < 2e-4


def test_size_and_operations():
  net = supernet.Supernet(SPACES['darts'], 10)
  shapes = {kind: jnp.zeros(net.space.shape) for kind in SPACE.kinds}
  params = sizing.shapes(net, (32, 32, 3), shapes)['params']
  assert sizing.size(params) == GOLDEN['count/supernet_C16_L8_10classes']
  arch = METHOD.init(np.random.default_rng(0), net, 0.0)
  for alive in arch.mask.values():
    names = np.array(net.space.primitives)[alive[0]]
    assert (alive == alive[0]).all() and len(names) == len(OPS)


@pytest.mark.parametrize('case', GOLDEN['geno/case'].tolist())
def test_genotypes(case):
  at = [*GOLDEN['geno/case']].index(case)
  arch = architecture('geno/alpha_', 'geno/beta_', at)
  graphs = METHOD.discretize(SPACE, arch, METHOD.relax(arch, None)).graphs
  for kind, graph in graphs.items():
    found, told = (
      given.numbers(SPACE, graph),
      GOLDEN[f'geno/genotype_{kind}'][at],
    )
    if 'flat' not in case:
      np.testing.assert_array_equal(found, told)
      continue
    # As released, a dropped edge has equal operations, and may tie with others.
    betas = arch.alphas[f'{kind}_betas']
    gone = edges.lost(betas, TARGETS)
    kept = {SPACE.edges[e] for e in np.flatnonzero(~gone)}
    assert {(i, t) for _, i, t in graph.edges} == kept
    alphas = np.where(gone[:, None], 0, arch.alphas[kind])
    p = DARTS.relax(given.arch({kind: alphas}), None)
    space = SPACE._replace(kinds=(kind,))
    rule = spaces.strongest(space, {kind: np.asarray(p[kind])})
    found = given.numbers(SPACE, rule.graphs[kind])
    np.testing.assert_array_equal(found, told)


def test_some_flat_row_is_kept_otherwise_in_the_release():
  at = next(n for n, c in enumerate(GOLDEN['geno/case']) if 'flat' in str(c))
  arch = architecture('geno/alpha_', 'geno/beta_', at)
  graphs = METHOD.discretize(SPACE, arch, METHOD.relax(arch, None)).graphs
  assert any(
    (given.numbers(SPACE, graph) != GOLDEN[f'geno/genotype_{kind}'][at]).any()
    for kind, graph in graphs.items()
  )


class Net(supernet.Base):
  """The page's: logits are x W (1 + sum c p / 14 + sum d b)."""

  cells = SPACE.kinds

  @nn.compact
  def __call__(self, images, mix, train=False, present=None):
    W = self.param('W', nn.initializers.zeros, GOLDEN['loop/W0'].shape)
    self.variable('batch_stats', 'none', jnp.zeros, ())
    n, g = np.bincount(TARGETS)[TARGETS], 1.0
    for kind, p in mix.items():
      share = p.sum(axis=-1)
      c, d = GOLDEN[f'loop/c_{kind}'], joined(f'loop/d_{kind}')
      g += jnp.sum(c * p / share[:, None]) / len(p)
      g += jnp.sum(d * share / n)
    return images @ W * g


def test_loop():
  """Eight steps over the epoch from which the alphas move."""
  parts = dataclasses.replace(
    toys.setup(weight=0.0), net=Net(SPACE, 10), method=METHOD, epochs=EPOCHS
  )
  first = architecture('loop/alpha0_', 'loop/beta0_')
  variables = {
    'params': {'W': jnp.asarray(GOLDEN['loop/W0'])},
    'batch_stats': {'none': jnp.zeros(())},
  }
  rates = toys.RATES | {
    **{'weights.lr': 0.025, 'weights.lr_min': 0.001, 'weights.clip': 5.0},
    **{'weights.momentum': 0.9, 'weights.decay': 3e-4},
    **{'alphas.lr': 3e-4, 'alphas.decay': 1e-3},
  }
  state = search.init(parts, variables, first, rates, 8, 10)
  for t, epoch in enumerate(GOLDEN['loop/epoch']):
    rows = len(GOLDEN['loop/y_train'][t])
    batches = [
      split.Batch(
        jnp.asarray(GOLDEN[f'loop/x_{of}'][t]),
        jnp.asarray(GOLDEN[f'loop/y_{of}'][t], jnp.int32),
        jnp.arange(rows, dtype=jnp.int32),
        jnp.ones(rows, bool),
      )
      for of in ('train', 'valid')
    ]
    state = state._replace(epoch=jnp.asarray(epoch - 1, jnp.int32))
    state = filling.step(state, filling.KEY, *batches, parts)
    close(state.params['weights']['W'], GOLDEN['loop/W'][t], atol=1e-10)
    for kind in SPACE.kinds:
      alphas = state.params['alphas']
      close(alphas[kind], GOLDEN[f'loop/alpha_{kind}'][t], atol=1e-10)
      betas = joined(f'loop/beta_{kind}', t)
      close(alphas[f'{kind}_betas'], betas, atol=1e-10)

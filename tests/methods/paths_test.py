"""Paths: how they are drawn, how likely they are, how they change."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sdnas_jax import methods
from sdnas_jax.bilevel import hypergrad
from sdnas_jax.methods import evolution
from sdnas_jax.methods import paths
from sdnas_jax.methods import reinforce
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests import toys
from tests.golden import given

DRAWS = 6000
SPACE = spaces.Space('small', ('none', 'skip_connect', 'dil_conv_3x3'), nodes=2)
PAIRS = [
  *((a, b) for a, b in itertools.combinations(SPACE.entering(3), 2)),
]


def first(name, space):
  method = methods.make(name, {})
  return method, method.init(np.random.default_rng(0), given.net(space), 1e-3)


def many(method, arch, draws=DRAWS):
  keys = jax.random.split(jax.random.key(0), draws)
  now = given.now(0, 2)
  draw = jax.vmap(lambda key: method.draw(key, arch, now, 'weights'))
  return jax.device_get(jax.jit(draw)(keys))


def even(counts):
  """Whether they may be of equal probabilities."""
  return stats.chisquare(counts).pvalue > 1e-4


def valid(space, mask, path):
  """Of a node two edges, or all in NAS-Bench-201's; on each one operation."""
  for kind, p in path.items():
    assert not p[~mask[kind]].any() and set(np.unique(p)) <= {0, 1}
    assert (p.sum(axis=1) <= 1).all()
    for node in space.targets:
      count = p[list(space.entering(node))].sum()
      usual = space.genotype is spaces.Genotype
      assert count == (2 if usual else len(space.entering(node)))


@pytest.mark.parametrize('name', ['spos', 'random_ws', 'enas'])
@pytest.mark.parametrize('space', ['darts', 'nasbench201'])
def test_every_path_is_as_likely(name, space):
  space = SPACES[space]
  method, arch = first(name, space)
  drawn = many(method, arch)
  for n in range(20):
    valid(space, arch.mask, {kind: p[n] for kind, p in drawn.items()})
  for kind, alive in arch.mask.items():
    counts = drawn[kind].sum(axis=0)
    for row, own in zip(counts, alive, strict=True):
      assert even(row[own])
    for node in space.targets[1:]:
      assert even(counts[list(space.entering(node))].sum(axis=1))


def test_every_pair_of_edges_is_as_likely():
  method, arch = first('spos', SPACE)
  kept = many(method, arch)['normal'].any(axis=-1)
  assert even([kept[:, list(pair)].all(axis=1).sum() for pair in PAIRS])


def policy():
  """An architecture of one small cell, and logits of any kind."""
  _, arch = first('enas', SPACE)
  rng = np.random.default_rng(1)
  alphas = {
    'normal': jnp.asarray(rng.standard_normal(SPACE.shape)),
    'normal_edges': jnp.asarray(rng.standard_normal(len(SPACE.edges))),
  }
  return arch._replace(alphas=alphas, mask={'normal': arch.mask['normal']})


def every(arch):
  """All paths of it."""
  alive, found = arch.mask['normal'], []
  for pair in PAIRS:
    rows = [*SPACE.entering(2), *pair]
    for chosen in itertools.product(*(np.flatnonzero(alive[r]) for r in rows)):
      p = np.zeros(alive.shape)
      p[rows, chosen] = 1
      found.append(p)
  return np.array(found)


def test_how_likely_a_path_is():
  arch = policy()
  method, all_paths = methods.make('enas', {}), every(arch)
  log_prob = jax.vmap(
    lambda p: paths.log_prob(arch, arch.alphas, {'normal': p})
  )
  p = np.exp(np.float64(log_prob(all_paths)))
  assert p.sum() == pytest.approx(1, abs=1e-6)
  drawn = many(method, arch)['normal']
  same = (drawn[:, None] == all_paths[None]).all(axis=(2, 3))
  assert same.sum() == DRAWS
  assert stats.chisquare(same.sum(axis=0), DRAWS * p / p.sum()).pvalue > 1e-4


def test_the_gradient_is_that_of_the_expected_reward():
  """By all paths, whatever the baseline; the entropy is a part of it."""
  with jax.enable_x64():
    arch, weight, base = policy(), 0.3, 0.7
    rng = np.random.default_rng(2)
    all_paths = every(arch)
    seen = jnp.asarray(rng.random(len(all_paths)))
    own = {**arch.own, 'baseline': jnp.asarray(base)}
    arch = arch._replace(own=own)

    def log_prob(a, p):
      return paths.log_prob(arch, a, {'normal': p})

    def expected(a):
      logs = jax.vmap(lambda p: log_prob(a, p))(jnp.asarray(all_paths))
      return -jnp.sum(jnp.exp(logs) * (seen - weight * logs))

    def rule(n):
      problem = hypergrad.Problem(
        *(None, arch.alphas, None, None, None, None),
        arch=arch,
        draw=lambda _: {'normal': jnp.asarray(all_paths)[n]},
        accuracy=lambda w, mix: seen[n],
      )
      return reinforce.reinforce(1, problem, entropy=weight, decay=0.9)

    found = jax.jit(jax.vmap(rule))(jnp.arange(len(all_paths)))
    logs = jax.vmap(lambda p: log_prob(arch.alphas, p))(jnp.asarray(all_paths))
    for name, told in jax.jit(jax.grad(expected))(arch.alphas).items():
      mean = jnp.tensordot(jnp.exp(logs), found.gradient[name], axes=1)
      np.testing.assert_allclose(mean, told, atol=1e-12)
    reward = seen - weight * logs
    baseline = 0.9 * base + 0.1 * reward
    np.testing.assert_allclose(found.own['baseline'], baseline, atol=1e-12)


def test_a_search_s_step_learns_the_baseline():
  parts = toys.setup('enas', layers=1, options={'samples': 2, 'entropy': 0.0})
  before, (train, valid_half) = toys.state(parts), toys.halves()
  given_to = before, jax.random.key(0), train, valid_half, jnp.int32(1), parts
  after = jax.jit(search.advance)(*given_to)
  share = float(after.own['baseline']) / (1 - 0.99)
  rights = share * 2 * 8  # of two paths on eight images
  assert rights == pytest.approx(round(rights), abs=1e-3) and share > 0


@pytest.mark.parametrize('space', ['darts', 'nasbench201'])
def test_children_are_paths(space):
  space = SPACES[space]
  method, arch = first('spos', space)
  drawn, rng = many(method, arch, 2), np.random.default_rng(0)
  one, two = ({k: p[n] for k, p in drawn.items()} for n in range(2))
  for share in (0.0, 0.1, 1.0):
    child = paths.mutated(rng, arch, one, share)
    valid(space, arch.mask, child)
    same = all(np.array_equal(child[k], one[k]) for k in one)
    assert same or share
  for _ in range(10):
    child = paths.crossed(rng, arch, one, two)
    valid(space, arch.mask, child)
    for kind, p in child.items():
      for row, *parents in zip(p, one[kind], two[kind], strict=True):
        assert any(np.array_equal(row, parent) for parent in parents)


@pytest.mark.parametrize('space', ['darts', 'nasbench201'])
@pytest.mark.parametrize('name', ['spos', 'fairnas', 'random_ws', 'enas'])
def test_the_best_path_seen_is_what_is_found(name, space):
  space, seen = SPACES[space], []
  options = {'population': 12, 'generations': 3}
  if name in ('random_ws', 'enas'):
    options = {'samples' if name == 'random_ws' else 'candidates': 36}
  method = methods.make(name, {**options, 'decide': True})
  arch = method.init(np.random.default_rng(0), given.net(space), 1e-3)
  rng = np.random.default_rng(3)
  worth = {k: rng.random(m.shape) for k, m in arch.mask.items()}

  def look(mix):
    valid(space, arch.mask, mix)
    seen.append((sum((worth[k] * mix[k]).sum() for k in mix), mix))
    return seen[-1][0]

  past = given.past([], 1)
  found = method.revise(past, arch, look).arch
  assert len(seen) == len({str(mix) for _, mix in seen}) == 36
  _, best = max(seen, key=lambda one: one[0])
  mix = {k: np.asarray(p) for k, p in method.relax(found, None).items()}
  for kind, p in best.items():
    np.testing.assert_array_equal(mix[kind], p)
    np.testing.assert_array_equal(found.alphas[kind], p)
  genotype = method.discretize(space, found, mix)
  hard = spaces.hard(space, genotype)
  for kind, p in best.items():
    np.testing.assert_array_equal(hard[kind], p)
  # Of the same seed it finds the same; after its first epoch it is not asked.
  again = method.revise(past, arch, look).arch
  jax.tree.map(np.testing.assert_array_equal, found, again)
  assert method.revise(given.past([{}], 1), arch, look) is None
  assert methods.make(name, {}).revise(past, arch, look) is None
  # What is drawn now is it.
  drawn = many(method, found, 3)
  for kind, p in best.items():
    np.testing.assert_array_equal(drawn[kind], np.stack(3 * [p]))


def test_evolution_climbs():
  """Further than as many random paths, on a sum of what each edge is worth."""
  _, arch = first('spos', SPACES['darts'])
  rng = np.random.default_rng(4)
  worth = {k: rng.random(m.shape) for k, m in arch.mask.items()}

  def look(mix):
    return sum((worth[k] * mix[k]).sum() for k in mix)

  def reached(*how):
    found = evolution.decided(arch, look, *how).arch
    return look({k: found.mask[k] for k in worth})

  assert reached(20, 10) > reached(200) + 1


def test_a_small_space_is_seen_whole():
  _, arch = first('spos', SPACE)
  mask = {k: m.copy() for k, m in arch.mask.items()}
  for own in mask.values():
    own[:, 1] = False  # leaves the choice of the edges
  seen = []
  evolution.decided(
    arch._replace(mask=mask), lambda mix: seen.append(mix) or 0.0, 50, 2
  )
  assert len(seen) == len(PAIRS) ** 2

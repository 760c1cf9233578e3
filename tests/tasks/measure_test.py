"""What is measured at the end of a search, on a small space."""

import dataclasses
import types

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from configs import search_digits
from sdnas_jax.analysis import landscape
from sdnas_jax.methods import arch as archs
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import sharpness
from sdnas_jax.tasks import measure
from tests import toys

SEED = 0


def probe(**change):
  fields = search_digits.get_config().sharpness.to_dict()
  return measure.probe({**fields, 'batches': 2, **change}, decay=1e-3)


def portrait(at, workdir, points=0, spectrum=False, **change):
  view = measure.view(*at, SEED, probe(**change))
  measure.portrait(view, workdir, points=points, spectrum=spectrum)


@pytest.fixture(scope='module')
def at():
  parts, (_, valid) = toys.setup(layers=1), toys.halves()
  return parts, toys.state(parts), valid


def whole(at):
  """What looks at a state, with all that a step needs too."""
  setup, state, valid = at
  return sharpness.View(state, np.uint32(SEED), valid, setup, probe())


def test_nothing_is_measured_unasked(at, tmp_path):
  portrait(at, tmp_path)
  assert not list(tmp_path.iterdir())


def test_the_spectrum_is_that_of_the_columns(at, tmp_path, monkeypatch):
  monkeypatch.setattr(measure, 'BLOCK', 7)  # which does not divide the alphas
  portrait(at, tmp_path, spectrum=True)
  rows = artifacts.read_rows(tmp_path / 'spectrum.csv')
  values = [float(row['eigenvalue']) for row in rows]
  view = whole(at)
  x, _ = flatten_util.ravel_pytree(view.state.params['alphas'])
  matrix = jax.jit(sharpness.columns)(view, jnp.eye(x.size))
  expected = np.linalg.eigvalsh(np.asarray(matrix, np.float64))
  assert len(values) == x.size and x.size % 7
  scale = np.abs(expected).max()
  np.testing.assert_allclose(values, expected, atol=1e-5 * scale)
  assert sum(float(row['share']) for row in rows) == pytest.approx(1)
  # What is there is kept, and what a kill prevented is drawn.
  (tmp_path / 'spectrum.csv').write_text('eigenvalue,share\n1,1\n')
  (tmp_path / 'spectrum.png').unlink()
  portrait(at, tmp_path, spectrum=True)
  assert len(artifacts.read_rows(tmp_path / 'spectrum.csv')) == 1
  assert (tmp_path / 'spectrum.png').exists()


def test_the_weights_have_a_density(at, tmp_path):
  portrait(at, tmp_path, spectrum=True, of='weights', products=3)
  rows = artifacts.read_rows(tmp_path / 'spectrum.csv')
  assert len(rows) == 3 * measure.SAMPLES
  values = [float(row['eigenvalue']) for row in rows]
  assert values == sorted(values)
  assert sum(float(row['share']) for row in rows) == pytest.approx(1)


def test_the_landscape_goes_through_where_the_search_stands(at, tmp_path):
  portrait(at, tmp_path, points=3)
  found = artifacts.read_arrays(tmp_path / 'landscape.npz')
  assert found['steps'].tolist() == [-1, 0, 1]
  view = whole(at)
  alphas = view.state.params['alphas']
  rng = np.random.default_rng((SEED, 2))
  one, two = (landscape.even(rng, alphas) for _ in range(2))
  for of in ('alphas', 'weights'):
    for name in ('loss', 'accuracy'):
      assert found[f'{of}_{name}'].shape == (3, 3)
  here, there = (
    jax.jit(sharpness.plane)(view, (one, step), (two, -step))
    for step in (np.float32([0]), np.float32([1]))
  )
  for name in ('loss', 'accuracy'):
    for of in ('alphas', 'weights'):
      middle = found[f'{of}_{name}'][1, 1]
      assert middle == pytest.approx(float(here[name][0, 0]), rel=1e-5)
    corner = found[f'alphas_{name}'][2, 0]
    assert corner == pytest.approx(float(there[name][0, 0]), rel=1e-5)
  assert (tmp_path / 'landscape.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
  'every, due', [(0, []), (1, [*range(1, 17)]), (5, [5, 10, 15, 16])]
)
def test_when_it_is_due(every, due):
  assert [n for n in range(1, 17) if measure.due(every, n, last=16)] == due


@pytest.mark.parametrize(
  'change, decay',
  [
    ({}, 0.0),
    ({'protocol': 'robustdarts'}, 1e-3),
    ({'protocol': 'robustdarts', 'of': 'weights'}, 0.0),
  ],
)
def test_r_darts_adds_the_alphas_own_decay(change, decay):
  assert probe(**change).decay == decay


def test_methods_and_rules_share_what_looks_at_a_search():
  """Another step is no other measurement."""

  def looking(method, **change):
    parts, (_, valid) = toys.setup(method, **change), toys.halves()
    return measure.view(parts, toys.state(parts), valid, SEED, probe())

  structure = jax.tree.structure
  one, two = looking('darts'), looking('gdas', teacher='ema')
  assert structure(one) == structure(two)
  other = looking('darts_minus')
  assert structure(one.setup) != structure(other.setup)


def test_a_look_at_a_part_of_the_valid_half(at):
  """Of all its images in one batch it is that of the whole."""
  setup, state, valid = at
  images = len(valid.labels)
  setup = dataclasses.replace(setup, batch_size=images)
  look = measure.Look(measure.view(setup, state, valid, seed=3))
  mix = jax.device_get(archs.softmax(state.arch, None))
  whole = look(mix)
  assert whole == pytest.approx(look(mix, 0, images))
  # As many as there are, drawn anew for each part, the same each time.
  parts = [look(mix, part, 5) for part in range(8)]
  assert parts == [look(mix, part, 5) for part in range(8)]
  assert len({*parts}) > 1
  assert all(round(5 * share, 3).is_integer() for share in parts)
  other = measure.Look(measure.view(setup, state, valid, seed=4))
  assert parts != [other(mix, part, 5) for part in range(8)]


def test_a_part_is_augmented_and_padded(at):
  setup, state, valid = at
  varied = dataclasses.replace(setup, augment=toys.VARIED)
  mix = jax.device_get(archs.softmax(state.arch, None))
  plain, other = (
    measure.Look(measure.view(own, state, valid)) for own in (setup, varied)
  )
  assert plain(mix) == other(mix)
  seen = [[look(mix, part, 10) for part in range(8)] for look in (plain, other)]
  assert seen[0] != seen[1]


def test_a_genotype_of_a_table_a_cell_is_a_mix_of_such_tables():
  """Each cell's in the place that its kind has among its own."""
  net = toys.setup().net.clone(layers=4, per_cell=True)
  space, rng = net.space, np.random.default_rng(0)
  cells = {
    f'cell{n}': {
      node: [(str(rng.choice(space.primitives[1:])), n % node)]
      for node in space.targets
    }
    for n in range(net.layers)
  }
  genotype = spaces.Genotype.of(space, cells)
  view = types.SimpleNamespace(setup=types.SimpleNamespace(net=net))
  mix = measure.hard(view, genotype)
  assert {kind: p.shape for kind, p in mix.items()} == net.tables
  told = spaces.hard(space, genotype)
  for kind, numbers in net.numbers.items():
    for own, n in zip(mix[kind], numbers, strict=True):
      np.testing.assert_array_equal(own, told[f'cell{n}'])

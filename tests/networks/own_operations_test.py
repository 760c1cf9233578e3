"""Edges with operations of their own, and noise: what the weights belong to."""

import dataclasses
import json

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import instances
from sdnas_jax.networks import derived
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.runs import pytorch
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import sharpness
from sdnas_jax.tasks import measure
from tests import toys

KEY = jax.random.key(0)
PRIMITIVES = (
  *('max_pool_3x3', 'avg_pool_3x3', 'skip_connect', 'sep_conv_3x3'),
  *('dil_conv_3x3', 'dil_conv_5x5'),
)
WHOLE = spaces.Space('whole', PRIMITIVES, nodes=2)


def some(*columns):
  return tuple(PRIMITIVES[column] for column in columns)


# All families, alone and beside another; two alike of a node, and not.
OWN = WHOLE._replace(
  name='own',
  own=(
    (some(1, 2), some(3, 5), some(1, 2), some(4, 5), some(2, 3)),
    (some(0, 1), some(2, 4), some(0, 3), some(2, 4), some(0, 5)),
  ),
)
NOISY = spaces.Space('noisy', ('noise', 'skip_connect'), nodes=1)


def test_groups_are_of_edges_that_are_alike():
  def told(kind, space=OWN):
    return [(g.name, g.edges, g.primitives) for g in space.groups(kind)]

  assert told('normal') == [
    ('from0', (0, 2), some(1, 2)),
    ('from1_0', (1,), some(3, 5)),
    ('from1_1', (3,), some(4, 5)),
    ('from2', (4,), some(2, 3)),
  ]
  assert [name for name, _, _ in told('reduce')] == [
    *('from0_0', 'from0_1', 'from1', 'from2')
  ]
  assert told('normal', WHOLE) == [
    (f'from{n}', WHOLE.leaving(n), PRIMITIVES) for n in range(3)
  ]


def net(space, **fields):
  return supernet.Supernet(space, 3, channels=4, layers=3, **fields)


def variables(net):
  mix = {kind: jnp.zeros(net.space.shape) for kind in net.space.kinds}
  return sizing.variables(sizing.shapes(net, (8, 8, 2), mix), 0)


def by_place(net, params):
  """Every row of the operations' parameters, by where it belongs."""
  flat, _ = jax.tree_util.tree_flatten_with_path(params)
  found = {}
  for (path, leaf), rows in zip(
    flat, instances.owners(net, params), strict=True
  ):
    if rows is None:
      continue
    names = [key.key for key in path]
    for n, place in enumerate(zip(rows.edges, rows.primitives, strict=True)):
      key = names[0], *names[2:], *map(int, place)
      assert key not in found
      found[key] = leaf, n
  return found


@pytest.mark.parametrize('remat', [False, True])
def test_it_is_the_whole_space_s_network_without_what_is_missing(remat):
  """In values and in the gradients of the mix and of the weights."""
  small, large = net(OWN, remat=remat), net(WHOLE)
  ours, theirs = variables(small), variables(large)
  rows = by_place(small, ours['params'])
  whole = by_place(large, theirs['params'])
  assert rows.keys() <= whole.keys() and len(rows) < len(whole)
  for place, (leaf, n) in rows.items():
    like, m = whole[place]
    like[m] = leaf[n]
  for name in ('stem', 'classifier'):
    theirs['params'][name] = ours['params'][name]
  for name in (n for n in ours['params'] if n.startswith('cell')):
    for part in ('preprocess0', 'preprocess1'):
      theirs['params'][name][part] = ours['params'][name][part]
  rng = np.random.default_rng(0)
  images = rng.random((4, 8, 8, 2), np.float32)
  mix = {
    kind: np.float32(rng.random(OWN.shape) * OWN.alive(kind))
    for kind in OWN.kinds
  }
  found = []
  for one, own in ((small, ours), (large, theirs)):

    @jax.jit
    def loss(params, mix, one=one, own=own):
      given = {'params': params, 'batch_stats': own['batch_stats']}
      logits, _ = one.apply(
        given, images, mix, train=True, mutable=['batch_stats']
      )
      return jnp.sum(logits**2), logits

    grads, logits = jax.grad(loss, (0, 1), has_aux=True)(own['params'], mix)
    found.append((logits, by_place(one, jax.device_get(grads[0])), grads[1]))
  (a, of_w, of_mix), (b, of_whole, of_all) = found
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  for kind in OWN.kinds:
    size = np.abs(of_all[kind]).max()
    np.testing.assert_allclose(of_mix[kind], of_all[kind], atol=1e-4 * size)
  for place, (leaf, n) in of_w.items():
    like, m = of_whole[place]
    limit = 1e-3 * np.abs(like[m]).max() + 1e-4
    np.testing.assert_allclose(leaf[n], like[m], rtol=0, atol=limit)


def spectrum(workdir, space):
  """The eigenvalues written, the largest one measured, and the alphas."""
  parts, (_, valid) = toys.setup(), toys.halves()
  parts = dataclasses.replace(
    parts, net=toys.Net(space, toys.CLASSES, channels=2, layers=1)
  )
  state = toys.state(parts)
  probe = sharpness.Probe('alphas', 'probe', 1, 40, 0.05, 1, 0.0)
  view = measure.view(parts, state, valid, 0, probe)
  measure.portrait(view, workdir, points=0, spectrum=True)
  rows = measure.artifacts.read_rows(workdir / 'spectrum.csv')
  values = np.array([float(row['eigenvalue']) for row in rows])
  x, _ = flatten_util.ravel_pytree(view.at)
  matrix = np.asarray(jax.jit(sharpness.columns)(view, jnp.eye(x.size)))
  return values, matrix, view


def test_curvature_is_of_the_alphas_that_are_searched(tmp_path):
  values, matrix, view = spectrum(tmp_path, OWN)
  among = np.concatenate([OWN.alive(kind).ravel() for kind in OWN.kinds])
  np.testing.assert_array_equal(view.among, among)
  assert not matrix[~among].any() and not matrix[:, ~among].any()
  assert len(values) == among.sum() == 20
  expected = np.linalg.eigvalsh(matrix[among][:, among])
  scale = np.abs(expected).max()
  np.testing.assert_allclose(values, expected, atol=1e-5 * scale)
  assert view.replace(probe=view.probe.replace(of='weights')).among is None


def forward(net, own, mix, **more):
  images = np.zeros((2, 8, 8, 2), np.float32)
  return net.apply(own, images, mix, **more)


def test_noise_is_another_on_every_edge_and_with_every_key(monkeypatch):
  drawn = []

  def noise(key, x, stride, edges, draw=ops.noise):
    y = draw(key, x, stride, edges)
    drawn.append(y)
    return y

  own = net(NOISY)
  given, mix = variables(own), {k: jnp.ones(NOISY.shape) for k in NOISY.kinds}
  monkeypatch.setattr(ops, 'noise', noise)
  with jax.disable_jit():
    one = forward(own, given, mix | {'noise': KEY})
  rows = np.concatenate([np.ravel(y)[:32] for y in drawn]).reshape(-1, 32)
  assert len(rows) == 3 * 2 == len(np.unique(rows, axis=0))
  assert all(y.shape[0] == 1 for y in drawn)
  assert [y.shape[2] for y in drawn] == [8, 8, 4, 4, 2, 2]
  again = forward(own, given, mix | {'noise': KEY})
  other = forward(own, given, mix | {'noise': jax.random.key(1)})
  np.testing.assert_allclose(one, again, rtol=1e-5, atol=1e-6)
  assert np.abs(one - other).max() > 1e-3
  # A pass that is given no key is the same each time.
  fixed = forward(own, given, mix)
  np.testing.assert_array_equal(fixed, forward(own, given, mix))
  assert np.abs(fixed - one).max() > 1e-3


def test_noise_forgets_its_input_and_is_standard():
  x = jnp.ones((1, 64, 8, 8, 4))
  y = np.asarray(ops.noise(KEY, x, 2, 3))
  assert y.shape == (3, 64, 4, 4, 4)
  assert abs(y.mean()) < 5 / np.sqrt(y.size)
  assert abs(y.var() - 1) < 5 * np.sqrt(2 / y.size)
  other = ops.noise(KEY, 7 * x, 2, 3)
  np.testing.assert_array_equal(y, other)


def noisy_search():
  parts = toys.setup(weight=0.0)
  own = toys.Net(NOISY, toys.CLASSES, channels=2, layers=2)
  return dataclasses.replace(parts, net=own)


def test_each_pass_of_a_step_has_noise_of_its_own():
  parts = noisy_search()
  state, keys = toys.state(parts), jax.random.split(KEY, 3)
  data = [
    jax.random.key_data(search.beside(state, keys, parts, which)['noise'])
    for which in search.PASSES
  ]
  assert len({tuple(d.tolist()) for d in data}) == len(search.PASSES)
  one, two = (search.unlike(n, parts)['noise'] for n in (0, 1))
  assert (jax.random.key_data(one) != jax.random.key_data(two)).any()
  plain = toys.setup()
  assert search.beside(state, keys, plain, 'weights') == {}
  assert search.unlike(0, plain) == {}


def test_weights_of_noise_are_refused():
  pairs = {2: [('noise', 0), ('sep_conv_3x3', 1)]}
  cells = {'normal': pairs, 'reduce': pairs}
  found = spaces.Genotype.of(SPACES['s4'], cells)
  assert published.find(json.dumps(found.fields)) == found
  with pytest.raises(errors.BadInput, match='StableHLO only'):
    pytorch.arrays(derived.Derived(found, 3, 4, 3), {})


def test_softmax_is_over_what_an_edge_has():
  mask = {kind: OWN.alive(kind) for kind in OWN.kinds}
  rng = np.random.default_rng(0)
  alphas = {kind: rng.standard_normal(OWN.shape) for kind in OWN.kinds}
  mix = archs.softmax(archs.Arch(alphas, mask), None)
  for kind, own in zip(OWN.kinds, OWN.own, strict=True):
    for row, names, p in zip(alphas[kind], own, mix[kind], strict=True):
      columns = [PRIMITIVES.index(name) for name in names]
      expected = np.exp(row[columns]) / np.exp(row[columns]).sum()
      np.testing.assert_allclose(p[np.array(columns)], expected, rtol=1e-5)

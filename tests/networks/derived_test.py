"""The derived network: published and hand-counted sizes, cells of any graph.

`tests/golden/` has it against the released code.
"""

import functools
import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import derived
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

CIFAR, IMAGENET = (32, 32, 3), (224, 224, 3)


def network(name, classes=10, imagenet=False, channels=None):
  channels = channels or (48 if imagenet else 36)
  return derived.Derived(
    published.CELLS[name].genotype,
    classes,
    channels,
    layers=14 if imagenet else 20,
    imagenet=imagenet,
    depthwise='grouped',
  )


@functools.cache
def sizes(name, classes=10, imagenet=False, channels=None):
  """Parameters of the network, and of its auxiliary head."""
  net = network(name, classes, imagenet, channels)
  shapes = sizing.shapes(net, IMAGENET if imagenet else CIFAR)
  parts = {
    part: sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
    for part, tree in shapes['params'].items()
  }
  head = parts.pop('auxiliary')
  return sum(parts.values()), head


@pytest.mark.parametrize(
  'name, size',
  [
    ('PDARTS', 3433798),
    ('PC_DARTS_cifar', 3634678),
    ('GDAS_V1', 3368782),
    ('SDARTS_RS', 3606166),
    ('SDARTS_ADV', 3344806),
    ('SGAS_CRI1', 3795166),
    ('SGAS_CRI2', 4094110),
    ('DARTS_MINUS', 3454318),
    ('DARTS_PT', 3328174),
    ('SNAS_mild', 2661382),
    ('DARTS_PT_0', 2851246),
    ('DRNAS_cifar', 4099294),
    ('FAIR_DARTS_a', 2360782),
    ('FAIR_DARTS_b', 3407878),
    ('FAIR_DARTS_c', 2598814),
    ('FAIR_DARTS_d', 3365542),
    ('FAIR_DARTS_e', 2643742),
    ('FAIR_DARTS_f', 3151054),
    ('FAIR_DARTS_g', 2899054),
    ('SHAPLEY_NAS_cifar', 3603358),
    ('OLES_cifar', 4222414),
    ('OLES_cifar100', 2587942),
    ('LAMBDA_DARTS_0', 3320614),
    ('LAMBDA_DARTS_1', 3672910),
    ('LAMBDA_DARTS_2', 3534454),
    ('LAMBDA_DARTS_3', 3604438),
    ('SNAS_moderate', 2847358),
    ('SNAS_aggressive', 2313622),
    ('R_DARTS_s1_3e-4', 1550062),
    ('R_DARTS_s1_81e-4', 2901358),
    ('R_DARTS_s3_3e-4', 1675558),
    ('R_DARTS_s3_81e-4', 4701718),
  ],
)
def test_parameters_on_cifar(name, size):
  wide = 144 * len(published.CELLS[name].genotype.graphs['reduce'].outputs)
  head = 128 * wide + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 768 * 10 + 10
  assert sizes(name) == (size, head)


@pytest.mark.parametrize(
  'name, channels, size',
  [
    ('PC_DARTS_image', 48, 5342464),
    ('GDAS_V1', 50, 5345075),
    ('DRNAS_imagenet', 48, 5726368),
    ('SNAS_moderate', 48, 4312576),
    ('SNAS_aggressive', 48, 3561952),
  ],
)
def test_parameters_on_imagenet(name, channels, size):
  assert sizes(name, 1000, True, channels)[0] == size


@pytest.mark.parametrize(
  'name, imagenet, millions',
  [('DARTS_V2', False, 528.4), ('DARTS_V2', True, 529.9)],
)
def test_multiply_adds(name, imagenet, millions):
  net = network(name, 1000 if imagenet else 10, imagenet)
  macs = sizing.macs(net, IMAGENET if imagenet else CIFAR)
  assert round(macs / 1e6, 1) == millions


def test_drop_path_keeps_the_expectation_and_drops_whole_images():
  x, shape = jnp.ones((1, 20_000, 2, 2, 3)), (1, 20_000, 1, 1, 1)
  drops = {'drop_path': (jax.random.key(0), 0.3)}
  ctx = derived.ops.Context(True, None, 'shifted', drops)
  y = np.asarray(ctx.dropped('drop_path', x, shape))
  each = y.reshape(20_000, -1)
  assert set(np.unique(each)) == {0.0, np.float32(1 / 0.7)}
  assert (each.min(1) == each.max(1)).all()
  error = math.sqrt(0.3 / 0.7 / 20_000)  # standard, of the mean
  assert abs(each.mean() - 1) < 4 * error


def tiny(nodes, **fields):
  cells = {'normal': nodes, 'reduce': nodes}
  genotype = spaces.Genotype.of(SPACES['darts'], cells)
  return derived.Derived(
    genotype, classes=3, channels=4, auxiliary=False, **fields
  )


def logits(net, train, drop):
  images = np.random.default_rng(0).random((6, 8, 8, 3), np.float32)
  variables = sizing.variables(sizing.shapes(net, (8, 8, 3)), seed=0)
  call = functools.partial(net.apply, variables, images, train, drop=drop)
  keys = jax.random.split(jax.random.key(1))
  if not train:
    return [call(key=key) for key in keys]
  return [call(key=key, mutable=['batch_stats'])[0][0] for key in keys]


def test_paths_are_dropped_in_training_only():
  net = tiny({2: [('sep_conv_3x3', 0), ('max_pool_3x3', 1)]}, layers=1)
  one, two = logits(net, True, 0.5)
  assert np.abs(one - two).max() > 1e-3
  one, two = logits(net, False, 0.5)
  np.testing.assert_array_equal(one, two)


def test_an_identity_of_stride_one_is_never_dropped():
  # Without a reduction, as 1 // 3 and 2 // 3 are both the only layer's number.
  pairs = (('skip_connect', 0), ('skip_connect', 1))
  x = features(6)
  apply, params = cell(spaces.paired(pairs, (2,)), x)
  np.testing.assert_array_equal(apply(params, 0.0), apply(params, 0.9))


def features(batch, size=8):
  rng = np.random.default_rng(0)
  return rng.random((1, batch, size, size, 4), np.float32)


def cell(graph, x, reduction=False):
  """A cell in training, of its parameters and `drop`; and parameters."""
  net = derived.Cell(graph, 4, reduction, False)
  share = np.full((1, x.shape[1], 1, 1, 1), 1 / x.shape[1], np.float32)
  ctx, key = derived.ops.Context(True, share, 'shifted'), jax.random.key(0)
  shapes = jax.eval_shape(net.init, key, x, x, ctx)

  def filled(path, leaf):
    # By its name, so that two cells' first operations, say, start alike.
    seed = zlib.crc32(jax.tree_util.keystr(path).encode())
    return np.random.default_rng(seed).random(leaf.shape, np.float32)

  variables = jax.tree.map_with_path(filled, shapes)

  def apply(params, drop=0.0):
    given = {**variables, 'params': params}
    own = ctx.replace(drops={'drop_path': (key, drop)})
    out, _ = net.apply(given, x, x, own, mutable=['batch_stats'])
    return np.asarray(out)

  return apply, variables['params']


@pytest.mark.parametrize('reduction', [False, True])
def test_a_node_is_the_sum_of_its_pairs_whatever_their_number(reduction):
  # The pools and the identity have no parameters; each node is concatenated.
  pools = ('max_pool_3x3', 0), ('avg_pool_3x3', 1)
  nodes = (
    (),
    (pools[0],),
    (pools[0], pools[1], pools[1]),
    (*pools, ('skip_connect', 3), *pools, ('avg_pool_3x3', 2)),
  )
  x = features(3, 7)
  apply, params = cell(
    spaces.Graph(2, ((pools[0],), (pools[1],)), (2, 3)), x, reduction
  )
  a, b = np.split(apply(params), 2, axis=-1)
  apply, params = cell(spaces.Graph(2, nodes, (2, 3, 4, 5)), x, reduction)
  zero, one, three, six = np.split(apply(params), 4, axis=-1)
  np.testing.assert_array_equal(zero, np.zeros_like(one))
  np.testing.assert_array_equal(one, a)
  np.testing.assert_allclose(three, a + 2 * b, rtol=1e-6)
  np.testing.assert_allclose(six, 3 * a + 2 * b, rtol=1e-6)


def test_two_operations_of_one_edge_add_up_and_need_both():
  graph = spaces.Graph(2, ((('dil_conv_3x3', 0), ('dil_conv_5x5', 0)),), (2,))
  apply, params = cell(graph, features(3))
  both = apply(params)
  names = [name for name in params if name.startswith('Operation')]
  assert len(names) == 2

  def without(name):
    """The output if an operation's normalisation yields nothing."""
    own = jax.tree.map(jnp.zeros_like, params[name])
    return apply({**params, name: own})

  rest = without(names[0]) + without(names[1])
  np.testing.assert_allclose(both, rest, rtol=1e-4, atol=1e-5)
  for name in names:
    assert np.abs(both - without(name)).max() > 0.1


@pytest.mark.parametrize('layers', [3, 4])
def test_what_is_not_live_costs_nothing_and_changes_nothing(layers):
  live = {3: [('sep_conv_3x3', 0)], 5: [('skip_connect', 3)]}
  dead = {
    2: [('none', 0)],
    3: [*live[3], ('sep_conv_5x5', 2)],
    4: [('dil_conv_3x3', 2)],
    5: [('sep_conv_3x3', 4), *live[5]],
  }
  one, other = tiny(live, layers=layers), tiny(dead, layers=layers)
  outs = [logits(net, True, 0.5) for net in (one, other)]
  np.testing.assert_array_equal(*outs)
  shapes = [sizing.shapes(net, (8, 8, 3)) for net in (one, other)]
  assert shapes[0] == shapes[1]


def test_each_cell_may_have_a_graph_of_its_own():
  nodes = {2: [('sep_conv_3x3', 0), ('skip_connect', 1)]}
  wide = {2: nodes[2], 4: [('dil_conv_3x3', 2)] * 3}
  kinds = {'normal': nodes, 'reduce': wide}
  layers = [kinds['reduce' if n in (1, 2) else 'normal'] for n in range(4)]
  same = {f'cell{n}': layer for n, layer in enumerate(layers)}
  other = {**same, 'cell3': wide}
  nets = [
    derived.Derived(
      spaces.Genotype.of(SPACES['darts'], cells), 3, 4, 4, auxiliary=False
    )
    for cells in (kinds, same, other)
  ]
  outs = [logits(net, False, 0.0)[0] for net in nets]
  np.testing.assert_array_equal(outs[0], outs[1])
  sizes = [sizing.size(sizing.shapes(n, (8, 8, 3))['params']) for n in nets]
  # In the last cell 16 channels: depthwise, pointwise, scale and bias thrice,
  # and another 16 inputs of the classifier.
  more = 3 * (9 * 16 + 16 * 16 + 2 * 16) + 16 * 3
  assert sizes == [sizes[0], sizes[0], sizes[0] + more]

"""NAS-Bench-201's networks: published sizes, and each operation by hand."""

import functools

import jax
from jax import flatten_util
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.analysis import nasbench201 as table
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import ops
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.spaces import space as spaces

SPACE = cells.SPACE
MIX = {'cell': jax.ShapeDtypeStruct(SPACE.shape, jnp.float32)}
CIFAR, SMALL = (32, 32, 3), (8, 8, 1)
CLASSES = {'cifar10': 10, 'cifar100': 100, 'imagenet16_120': 120}


def supernet(classes=10, **fields):
  return nasbench201.Supernet(SPACE, classes, depthwise='grouped', **fields)


def derived(cell, classes=10, **fields):
  genotype = cells.of(cell)
  return nasbench201.Derived(genotype, classes, depthwise='grouped', **fields)


def size(net, *more):
  return sizing.size(sizing.shapes(net, CIFAR, *more)['params'])


def test_the_supernet_has_the_authors_size():
  assert size(supernet(), MIX) == 1692826
  assert round(sizing.macs(supernet(), CIFAR, MIX) / 1e6, 2) == 243.71


def test_affine_normalisation_has_two_numbers_for_each_bias():
  # Of six edges with two convolutions each, in fifteen cells.
  biases = 6 * 2 * 5 * (16 + 32 + 64)
  assert size(supernet(affine=True), MIX) == 1692826 + biases


@pytest.mark.parametrize(
  'name, parameters, millions',
  [
    ('none', 73306, 7.783),
    ('skip_connect', 73306, 7.783),
    ('avg_pool_3x3', 73306, 7.783),
    ('nor_conv_1x1', 241306, 31.376),
    ('nor_conv_3x3', 1531546, 220.12),
  ],
)
def test_networks_of_one_operation(name, parameters, millions):
  net = derived((name,) * 6)
  assert size(net) == parameters
  digits = len(str(millions).split('.')[1])
  assert round(sizing.macs(net, CIFAR) / 1e6, digits) == millions


def cell_size(cell, channels):
  """By the shapes of one cell alone, which are soon traced."""
  net = nasbench201.Cell(cells.of(cell).graphs['cell'])
  x = jax.ShapeDtypeStruct((1, 1, 4, 4, channels), jnp.float32)
  ctx = ops.Context(False, jnp.ones((1, 1, 1, 1, 1)), 'grouped')
  init = functools.partial(net.init, ctx=ctx)
  shapes = jax.eval_shape(init, jax.random.key(0), x)
  return sizing.size(shapes.get('params', {}))


def test_parameters_of_random_architectures_are_the_table_s():
  bare = {
    data: size(derived(('skip_connect',) * 6, classes))
    for data, classes in CLASSES.items()
  }
  chosen = np.random.default_rng(0).choice(cells.SIZE, 200, replace=False)
  for index in chosen.tolist():
    own = sum(cell_size(cells.cell(index), 16 * 2**n) for n in range(3))
    for data, rest in bare.items():
      known = getattr(table.query(index), data).parameters
      assert rest + 5 * own == known


def test_whole_random_architectures_have_the_table_s_size_and_cost():
  for index in np.random.default_rng(1).choice(cells.SIZE, 10).tolist():
    net, known = derived(cells.cell(index)), table.query(index)
    assert size(net) == known.cifar10.parameters
    macs = sizing.macs(net, CIFAR) / 1e6
    assert macs == pytest.approx(known.multiply_adds, rel=1e-4)


def norm(x):
  mean, var = (f(x, (0, 1, 2), keepdims=True) for f in (jnp.mean, jnp.var))
  return (x - mean) / jnp.sqrt(var + 1e-5)


def pooled(x):
  """The 3x3 mean of the pixels inside, pixel by pixel."""
  x = np.asarray(x)
  out = np.empty_like(x)
  for i, j in np.ndindex(x.shape[1:3]):
    window = x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
    out[:, i, j] = window.mean(axis=(1, 2))
  return out


def convolved(x, kernel):
  return lax.conv_general_dilated(
    jax.nn.relu(x),
    kernel,
    (1, 1),
    'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


@pytest.mark.parametrize('backend', ['grouped', 'native'])
@pytest.mark.parametrize('affine', [False, True])
def test_the_mixed_operation_is_the_sum_of_each_edge_s(affine, backend):
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((1, 3, 5, 4, 2)))
    mix = jnp.asarray(rng.random((2, 5)))
    share = jnp.full((1, 3, 1, 1, 1), 1 / 3)
    ctx = ops.Context(True, share, backend)
    op = nasbench201.MixedOp(SPACE.primitives, affine)
    shapes = jax.eval_shape(op.init, jax.random.key(0), x, mix, ctx)['params']
    params = jax.tree.map(lambda s: rng.standard_normal(s.shape), shapes)
    ours = op.apply({'params': params}, x, mix, ctx, mutable=['batch_stats'])
    for edge in range(2):
      skip, one, three, pool = mix[edge, 1:]
      expected = skip * x[0] + pool * pooled(x[0])
      names = 'nor_conv_1x1', 'nor_conv_3x3'
      for n, (p, name) in enumerate(zip((one, three), names, strict=True)):
        y = norm(convolved(x[0], params[name]['kernel'][edge]))
        if affine:
          own = params['Norm_0']
          y = y * own['scale'][2 * n + edge] + own['bias'][2 * n + edge]
        assert ('bias' in params[name]) != affine
        expected += p * y
      np.testing.assert_allclose(ours[0][edge], expected, rtol=1e-9, atol=1e-9)


def small(**fields):
  """A tiny supernet with its variables and some images."""
  net = supernet(3, channels=2, layers=1, **fields)
  variables = sizing.variables(sizing.shapes(net, SMALL, MIX), seed=0)
  rng = np.random.default_rng(0)
  images = rng.standard_normal((4, *SMALL)).astype(np.float32)
  mix = {'cell': rng.random(SPACE.shape).astype(np.float32)}
  return net, variables, images, mix


def trained(net, *given):
  """What the network says of a batch in training."""
  call = functools.partial(net.apply, train=True, mutable=['batch_stats'])
  return jax.jit(call)(*given)[0]


def test_a_hard_mix_leaves_the_network_of_the_genotype():
  """With the derived network's weights at the same places."""
  net, variables, images, _ = small(affine=True)
  rng = np.random.default_rng(1)
  variables['params'] = jax.tree.map(
    lambda x: rng.standard_normal(x.shape).astype(np.float32),
    variables['params'],
  )
  cell = 'nor_conv_3x3', 'nor_conv_3x3', 'skip_connect', 'avg_pool_3x3'
  cell += 'nor_conv_1x1', 'none'
  hard = spaces.hard(SPACE, cells.of(cell))
  soft = trained(net, variables, images, hard)
  params = dict(variables['params'])
  for stage in range(3):
    name = f'stage{stage}_cell0'
    params[name] = picked(params[name], cell)
  plain = derived(cell, 3, channels=2, layers=1)
  stats = sizing.variables(sizing.shapes(plain, SMALL), seed=0)['batch_stats']
  own = {'params': params, 'batch_stats': stats}
  expected, head = trained(plain, own, images)
  assert head is None
  np.testing.assert_allclose(soft, expected, rtol=1e-3, atol=1e-3)


def picked(own, cell):
  """Of a supernet's cell, what the derived one keeps, in the order it does."""
  found = {}
  for (source, target), name in zip(SPACE.edges, cell, strict=True):
    if not name.startswith('nor_conv'):
      continue
    op, edge = own[f'from{source}'], target - source - 1
    edges, n = 3 - source, len(found) // 2
    at = edge + edges * ('nor_conv_1x1', 'nor_conv_3x3').index(name)
    kernel = op[name]['kernel'][edge : edge + 1]
    found[f'Conv_{n}'] = {'kernel': kernel}
    norms = op['Norm_0'].items()
    found[f'Norm_{n}'] = {k: v[at : at + 1] for k, v in norms}
  return found


@pytest.mark.parametrize('train, tracked', [(True, True), (False, False)])
def test_padding_changes_no_logit(train, tracked):
  net, variables, images, mix = small(tracked=tracked)

  @jax.jit
  def logits(images, present):
    return net.apply(
      variables, images, mix, train, present, mutable=['batch_stats']
    )

  padded = np.concatenate([images, 9 * images[:2]])
  got, stats = logits(padded, np.arange(6) < 4)
  expected, plain = logits(images, np.ones(4, bool))
  np.testing.assert_allclose(got[:4], expected, atol=1e-5)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-5), stats, plain
  )


def test_untracked_a_validation_uses_its_own_batch():
  net, variables, images, mix = small(tracked=False)
  np.testing.assert_allclose(
    jax.jit(net.apply)(variables, images, mix),
    trained(net, variables, images, mix),
    atol=1e-6,
  )


def test_recomputed_cells_change_no_derivative():
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((1, 3, 4, 4, 2)))
    mix = jnp.asarray(rng.random(SPACE.shape))
    share = jnp.full((1, 3, 1, 1, 1), 1 / 3)
    ctx = ops.Context(True, share, 'grouped')
    cell = nasbench201.MixedCell(SPACE, affine=False)
    init = functools.partial(cell.init, ctx=ctx)
    shapes = jax.eval_shape(init, jax.random.key(0), images, mix)['params']
    params = jax.tree.map(lambda s: rng.standard_normal(s.shape), shapes)
    x, unravel = flatten_util.ravel_pytree((params, mix, images))

    def loss(kind, x):
      params, mix, images = unravel(x)
      given = {'params': params}, images, mix, ctx
      out, _ = kind(SPACE, affine=False).apply(*given, mutable=['batch_stats'])
      return jnp.sum(jnp.sin(out))

    plain, again = (
      jax.jit(jax.grad(functools.partial(loss, kind)))
      for kind in (nasbench201.MixedCell, nasbench201.Recomputed)
    )
    np.testing.assert_allclose(again(x), plain(x), rtol=1e-9, atol=1e-12)

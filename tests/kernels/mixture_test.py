"""The mixture of normalised outputs against the plain formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import mixture

EDGES, STACK = 3, 2
ALIVE = np.ones((STACK, EDGES), bool)


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


def case(outputs, channels=7, wide=1):
  """Weights, outputs that edges share or do not, and a padded row's share."""
  rng = np.random.default_rng(outputs)
  p = rng.standard_normal((STACK, EDGES, wide))
  z = rng.standard_normal((outputs, 5, 4, 3, channels)) + 1
  g = rng.standard_normal((EDGES, 5, 4, 3, channels))
  share = np.array([0.2, 0.3, 0.5, 0, 0]).reshape(1, 5, 1, 1, 1) / 12
  return tuple(map(jnp.asarray, (p, z, g, share)))


def plain(p, z, share):
  mean = jnp.sum(z * share, (1, 2, 3), keepdims=True)
  var = jnp.sum((z - mean) ** 2 * share, (1, 2, 3), keepdims=True)
  y = (z - mean) / jnp.sqrt(var + 1e-5)
  total = []
  for edge in range(EDGES):
    at = [n * EDGES + edge if len(z) > STACK else n for n in range(STACK)]
    total.append(
      sum(p[n, edge][None, None, None] * y[m] for n, m in enumerate(at))
    )
  return jnp.stack(total)


@pytest.mark.parametrize('native', [True, False])
@pytest.mark.parametrize('outputs', [STACK, STACK * EDGES])
def test_blend_and_derivatives_of_both_orders(outputs, native):
  p, z, g, share = case(outputs)

  def all_of(f):
    first = jax.grad(lambda *at: jnp.sum(g * jnp.sin(f(*at))), (0, 1))

    def curved(p, z):
      return sum(jnp.sum(jnp.cos(x)) for x in first(p, z))

    second = jax.grad(curved, (0, 1))
    return jax.jit(lambda *at: (f(*at), first(*at), second(*at)))(p, z)

  ours = all_of(
    lambda p, z: mixture.blend(p, None, z, share, ALIVE, 1e-5, native)[0]
  )
  theirs = all_of(lambda p, z: plain(p, z, share))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
    ours,
    theirs,
  )


@pytest.mark.parametrize('native', [True, False])
def test_an_affine_normalisation_and_derivatives_of_both_orders(native):
  p, z, g, share = case(EDGES, wide=7)
  p, bias = p[:1], jnp.sin(jnp.arange(EDGES * 7.0)).reshape(EDGES, 1, 1, 1, 7)

  def both(f):
    first = jax.grad(lambda *at: jnp.sum(g * jnp.sin(f(*at))), (0, 1, 2))
    second = jax.grad(
      lambda *at: sum(jnp.sum(jnp.cos(x)) for x in first(*at)), (0, 1, 2)
    )
    every = jax.jit(lambda *at: (f(*at), first(*at), second(*at)))
    return every(p, bias, z)

  def affine(p, bias, z):
    mean = jnp.sum(z * share, (1, 2, 3), keepdims=True)
    var = jnp.sum((z - mean) ** 2 * share, (1, 2, 3), keepdims=True)
    return p[0][:, None, None, None] * (z - mean) / jnp.sqrt(var + 1e-5) + bias

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
    both(lambda *at: mixture.blend(*at, share, ALIVE[:1], 1e-5, native)[0]),
    both(affine),
  )


@pytest.mark.parametrize('channels', [1, 7, 16, 40])
@pytest.mark.parametrize('outputs', [STACK, STACK * EDGES])
def test_sums_equal_numpy_s(outputs, channels):
  _, z, g, share = map(np.asarray, case(outputs, channels))
  square, mean = (np.sum(share * z**n, (1, 2, 3)) for n in (2, 1))
  each = np.broadcast_to(
    z.reshape(STACK, -1, *z.shape[1:]), (STACK, *g.shape)
  ).reshape(-1, EDGES, *g.shape[1:])
  product = np.sum(each * g, (2, 3, 4)).reshape(-1, channels)
  for native in (True, False):
    got = mixture.moments(
      *map(jnp.asarray, (z, share)), np.ones(outputs, bool), native
    )
    more = mixture.products(jnp.asarray(g), jnp.asarray(z), ALIVE, native)
    for a, b in zip(
      (*got, *more), (mean, square, g.sum((1, 2, 3)), product), strict=True
    ):
      np.testing.assert_allclose(a.squeeze((1, 2, 3)), b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('outputs', [STACK, STACK * EDGES])
def test_sums_over_what_is_not_alive_are_zero_and_not_taken(outputs):
  _, z, g, share = map(np.array, case(outputs))
  alive = np.array([[1, 0, 0], [0, 0, 1]], bool)
  if outputs == STACK:
    alive[1] = False  # a z that serves no edge
  rows = alive.reshape(outputs, -1).any(1)
  z[~rows] = np.nan
  g[1] = np.nan
  of = np.nan_to_num
  each = np.broadcast_to(z.reshape(STACK, -1, *z.shape[1:]), (STACK, *g.shape))
  expected = [
    *(np.sum(share * of(z) ** n, (1, 2, 3)) for n in (1, 2)),
    np.sum(of(g), (1, 2, 3)) * alive.any(0)[:, None],
    (np.sum(of(each * g), (2, 3, 4)) * alive[..., None]).reshape(-1, 7),
  ]
  got = (
    *mixture.moments(jnp.asarray(z), jnp.asarray(share), rows, True),
    *mixture.products(jnp.asarray(g), jnp.asarray(z), alive, True),
  )
  for a, b in zip(got, expected, strict=True):
    np.testing.assert_allclose(a.squeeze((1, 2, 3)), b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('native', [True, False])
def test_one_input_weighed_for_each_edge(native):
  p, z, g, _ = case(STACK)
  p, x = p[0, :, 0], z[:1]

  def both(f):
    first = jax.grad(lambda *at: jnp.sum(g * jnp.sin(f(*at))), (0, 1))
    second = jax.grad(
      lambda *at: sum(jnp.sum(jnp.cos(x)) for x in first(*at)), (0, 1)
    )
    return jax.jit(lambda *at: (first(*at), second(*at)))(p, x)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
    both(lambda p, x: mixture.weigh(p, x, p != 0, native)),
    both(lambda p, x: jnp.einsum('e,bhwc->ebhwc', p, x[0])),
  )

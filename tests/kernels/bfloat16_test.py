"""The foreign functions in bfloat16 against float64, within what is rounded.

A number is rounded by at most 2^-8 of itself. So a sum of products, each of
which has been rounded a few times, is off by no more than that many parts of
the same sum of absolute values, which the same convolutions give.
"""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import build
from sdnas_jax.kernels import convolution
from sdnas_jax.kernels import mixture
from sdnas_jax.kernels import outputs
from sdnas_jax.kernels import pool
from sdnas_jax.kernels import separable

pytestmark = pytest.mark.skipif(not build.available(), reason='no compiler')
ROUNDING = 2.0**-8
SHAPES = [  # of images, channels and features
  ((8, 8), 16, 16),
  ((6, 9), 32, 48),
  ((7, 5), 3, 5),  # odd, and fewer than a vector holds
  ((1, 2), 4, 2),
  ((3, 20), 36, 9),
]


def draw(*shape):
  rng = np.random.default_rng(shape)
  return rng.standard_normal(shape, np.float32)


def within(f, rows, weights, times):
  """f's values and gradients, each rounded so many times."""
  rows = [x.astype(jnp.bfloat16) for x in rows]

  @functools.partial(jax.jit, static_argnums=0)
  def all_of(native, rows, weights):
    value, pull = jax.vjp(functools.partial(f, native), *rows, *weights)
    return value, *pull(draw(*value.shape).astype(value.dtype))

  ours = all_of(True, rows, weights)
  with jax.enable_x64(True):
    wide = [np.asarray(x, float) for x in (*rows, *weights)]

    def exactly(change, *at):
      value, pull = jax.vjp(functools.partial(f, False), *map(change, at))
      g = draw(*value.shape).astype(jnp.bfloat16).astype(float)
      return value, *pull(change(g))

    exact = jax.jit(exactly, static_argnums=0)
    theirs, most = (jax.device_get(exact(c, *wide)) for c in CHANGES)
  found = jax.tree.leaves(ours), jax.tree.leaves(theirs), jax.tree.leaves(most)
  for a, b, bound in zip(*found, strict=True):
    assert (abs(np.asarray(a, float) - b) <= times * ROUNDING * bound).all()
  return ours


CHANGES = jnp.asarray, jnp.abs


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size, channels, features', SHAPES)
def test_separable_convolutions(size, channels, features, stride):
  depths = [draw(1, k, k, channels) for k in (3, 5, 3, 5)]

  def f(native, x, *weights):
    backend = 'native' if native else 'grouped'
    given = (*weights[:-1],)
    return separable.convolve(
      x, given, weights[-1], (1, 1, 2, 2), stride, backend
    )

  x, points = abs(draw(1, 3, *size, channels)), draw(4, channels, features)
  z, dx, *dw = within(f, [x], [*depths, points], 3.1)
  assert z.dtype == dx.dtype == jnp.bfloat16
  assert {d.dtype for d in dw} == {jnp.dtype('float32')}


@pytest.mark.parametrize('size, channels, features', SHAPES)
def test_dense_convolutions(size, channels, features):
  kernels = [draw(2, k, k, channels, features) for k in (3, 1)]

  def f(native, x, *kernels):
    return convolution.convolve(x, kernels, 1, native)

  within(f, [draw(1, 3, *size, channels)], kernels, 2.1)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size, channels', [((5, 4), 3), ((8, 8), 16)])
def test_pools(size, channels, stride):
  def both(native, x):
    return pool.both(x, stride, native)

  def mean(native, x):
    return pool.mean(x, stride, native)

  # Small whole numbers are exact, and no two of an image are equal.
  pixels = np.tile(np.arange(np.prod(size))[:, None], (1, 2, 1, channels))
  x = np.random.default_rng(0).permuted(pixels, axis=2)
  x = x.reshape(1, 2, *size, channels)
  most, _ = within(both, [x], [], 1.1)[0]
  within(mean, [x], [], 1.1)
  x = x.astype(jnp.bfloat16)
  np.testing.assert_array_equal(most, pool.largest(x, stride)[0])


def test_sums_and_mixtures_of_what_is_stored():
  """Of images with a large mean, in float32."""
  stack, edges, channels = 2, 3, 5
  z = (draw(stack * edges, 4, 3, 5, channels) + 100).astype(jnp.bfloat16)
  g = draw(edges, 4, 3, 5, channels).astype(jnp.bfloat16)
  p, share = draw(stack, edges, 1), jnp.full((1, 4, 1, 1, 1), 1 / 60)
  alive = np.ones((stack, edges), bool)
  wide, pull = np.asarray(z, float), np.asarray(g, float)
  mean, square = mixture.moments(z, share, alive.reshape(-1), True)
  near = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-4)
  near(mean, wide.mean((1, 2, 3), keepdims=True))
  near(square, (wide**2).mean((1, 2, 3), keepdims=True))
  first, second = mixture.products(g, z, alive, True)
  near(first, pull.sum((1, 2, 3), keepdims=True))
  tiled = np.concatenate([pull] * stack)
  near(second, (tiled * wide).sum((1, 2, 3), keepdims=True), atol=1e-3)
  mixed = mixture.mix(p, None, z, mean, jnp.ones_like(mean), alive, True)
  exact = np.asarray(p).reshape(-1, 1, 1, 1, 1) * (wide - np.asarray(mean))
  exact = exact.reshape(stack, edges, *z.shape[1:]).sum(0)
  assert mixed.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    np.asarray(mixed, float), exact, rtol=ROUNDING, atol=1e-3
  )


@pytest.mark.parametrize('space', ['darts', 'nasbench201'])
@pytest.mark.parametrize('plain', [True, False])
def test_a_convolution_with_its_mixture(space, plain):
  """And what is dead: zero, and of no gradient."""
  channels, alive = 8, np.array([[True, False], [True, True]])
  x = draw(1, 3, 6, 5, channels)
  if space == 'darts':
    kernels = [draw(2, k, k, channels) for k in (3, 5)]
    kernels.append(draw(4, channels, channels) / channels)
  else:
    kernels = [draw(2, k, k, channels, channels) / channels for k in (3, 1)]

  def promised(x, kernels):
    if space == 'darts':
      return separable.promise(x, kernels[:2], kernels[2], (1, 2), 1)
    return convolution.promise(x, kernels)

  alive = alive.reshape(1, -1) if plain else alive
  p = alive.astype(np.float32) if plain else draw(2, 2) * alive
  share = jnp.full((1, 3, 1, 1, 1), 1 / 90)

  @jax.jit
  def all_of(p, x, kernels):
    def loss(p, x, kernels):
      z = promised(x, kernels)
      rest = z.x, z.weights, share, alive, 1e-5
      y = outputs.blend(z.kind, plain, p[..., None], None, *rest)[0]
      return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

    at = (1, 2) if plain else (0, 1, 2)
    return jax.grad(loss, at, has_aux=True)(p, x, kernels)

  ours = all_of(p, x.astype(jnp.bfloat16), kernels)
  theirs = all_of(p, x.astype(jnp.bfloat16).astype(jnp.float32), kernels)
  walk = 2 * ROUNDING * np.sqrt(x.size)  # roundings of either sign, summed
  for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
    a = np.asarray(a, np.float32)
    most = walk if a.shape == p.shape else 0.02 * np.abs(b).max()
    np.testing.assert_allclose(a, b, atol=most)
    assert not a[np.asarray(b) == 0].any()


# Compiles nothing again but what it calls.
SCRIPT = """
import os
import sys
import numpy as np
from tests.kernels import bfloat16_test as own

os.environ['CXX'] = sys.argv[2]
np.savez(sys.argv[1], *own.gradients())
"""


def gradients():
  def loss(x, *weights):
    z = separable.convolve(x, weights[:1], weights[1], [1], 1, 'native')
    return jnp.sum(jnp.sin(z.astype(jnp.float32)))

  x = draw(1, 2, 5, 4, 7).astype(jnp.bfloat16)
  weights = draw(2, 3, 3, 7) / 3, draw(2, 7, 5) / 3
  grads = jax.grad(loss, (0, 1, 2))(x, *weights)
  return [np.asarray(x, np.float32) for x in grads]


def test_processors_without_bfloat16_compute_the_same(tmp_path):
  """Nearly: sums are rounded in another order."""
  path, flag = tmp_path / 'found.npz', '-mno-avx512bf16'
  compiler = build._compiler()
  if os.uname().machine != 'x86_64' or not _knows(compiler, flag):
    pytest.skip('they are all there is')
  subprocess.run(
    [sys.executable, '-c', SCRIPT, str(path), f'{compiler[0]} {flag}'],
    cwd=pathlib.Path(__file__).parents[2],
    check=True,
  )
  with np.load(path) as found:
    for a, b in zip(gradients(), found.values(), strict=True):
      np.testing.assert_allclose(a, b, atol=2 * ROUNDING * np.abs(b).max())


def _knows(compiler, flag):
  command = [*compiler, flag, '-E', '-x', 'c++', os.devnull]
  return not subprocess.run(command, capture_output=True).returncode

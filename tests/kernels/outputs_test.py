"""A convolution with its mixture as one, against both apart, by XLA's means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.kernels import convolution
from sdnas_jax.kernels import mixture
from sdnas_jax.kernels import outputs
from sdnas_jax.kernels import separable

EDGES, STACK, BATCH = 2, 2, 3
ALIVE = np.array([[True, False], [True, True]])


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


def draw(*shape):
  return np.random.default_rng(sum(shape)).normal(size=shape)


def shares():
  """Of a batch whose last row is padding."""
  return np.array([0.5, 0.5, 0.0]).reshape(1, BATCH, 1, 1, 1) / 20


def separated(channels, stride, shared):
  x = draw(1 if shared else EDGES * STACK, BATCH, 5, 4, channels)
  depths = tuple(draw(EDGES, size, size, channels) for size in (3, 5))
  rest = [2, 1], stride
  weights = depths, draw(EDGES * STACK, channels, channels)

  def promise(x, weights):
    return separable.promise(x, *weights, *rest)

  def apart(x, weights):
    return separable.convolve(x, *weights, *rest, 'grouped')

  return x, weights, promise, apart


def dense(channels):
  x = draw(1, BATCH, 5, 4, channels)
  weights = tuple(draw(EDGES, n, n, channels, channels + 1) for n in (3, 1))

  def apart(x, weights):
    return convolution.convolve(x, weights, 1, False)

  return x, weights, convolution.promise, apart


def same(x, weights, promise, apart, p, bias, alive, plain):
  """Value, statistics, and derivatives of both orders, of all operands."""
  share = jnp.asarray(shares())
  kernels, wrap = jax.tree.flatten(weights)
  for n, kernel in enumerate(kernels):  # the caller zeroes what is dead
    place = 0 if len(kernel) == alive.size else n % STACK * EDGES
    own = alive.reshape(-1)[place : place + len(kernel)]
    kernels[n] = kernel * np.expand_dims(own, tuple(range(1, kernel.ndim)))
  weights = wrap.unflatten(kernels)

  def ours(p, bias, x, weights):
    z = promise(x, weights)
    operands = bias, z.x, z.weights, share, alive, 1e-5
    return outputs.blend(z.kind, plain, p, *operands)

  def theirs(p, bias, x, weights):
    z = apart(x, weights)
    return mixture.blend(p, bias, z, share, alive, 1e-5)

  def live(grads):
    """Without what is of no use: of the dead, and of a plain p."""
    dp, *rest, dw = grads
    dp = 0 * p if plain else dp * alive[..., None]
    dw = jax.tree.map(lambda d, k: jnp.where(k == 0, 0, d), dw, weights)
    return dp, *rest, dw

  @functools.partial(jax.jit, static_argnums=0)
  def every(f, *at):
    def loss(*at):
      return jnp.sum(jnp.sin(f(*at)[0]) * share)

    def slope(*at):
      grads = live(jax.grad(loss, (0, 1, 2, 3))(*at))
      return sum(jnp.sum(jnp.sin(d)) for d in jax.tree.leaves(grads))

    first = live(jax.grad(loss, (0, 1, 2, 3))(*at))
    return f(*at), first, live(jax.grad(slope, (0, 1, 2, 3))(*at))

  at = p, bias, x, weights
  for a, b in zip(
    jax.tree.leaves(every(ours, *at)),
    jax.tree.leaves(every(theirs, *at)),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9 * abs(b).max())


@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('channels', [3, 8, 10])
def test_a_mixture_of_separable_convolutions(channels, stride, shared):
  p = draw(STACK, EDGES, 1) * ALIVE[..., None]
  parts = separated(channels, stride, shared)
  same(*parts, p, None, ALIVE, False)


@pytest.mark.parametrize('channels', [3, 8])
def test_a_mixture_of_dense_convolutions(channels):
  p = draw(STACK, EDGES, 1) * ALIVE[..., None]
  same(*dense(channels), p, None, ALIVE, False)


def test_an_affine_normalisation():
  p, bias = draw(1, STACK * EDGES, 8), draw(STACK * EDGES, 1, 1, 1, 8)
  every = np.ones((1, STACK * EDGES), bool)
  same(*separated(8, 1, True), p, bias, every, False)


@pytest.mark.parametrize('stride', [1, 2])
def test_a_normalisation_of_what_is_alive(stride):
  alive = ALIVE.reshape(1, -1)
  p = alive[..., None].astype(float)
  same(*separated(8, stride, True), p, None, alive, True)


@pytest.mark.parametrize('made', [separated(8, 2, True), dense(8)])
def test_each_derivative_by_itself_is_that_of_all(made):
  """Both gradients come of one foreign call only where both are wanted."""
  x, weights, promise, _ = made
  share, p = jnp.asarray(shares()), draw(STACK, EDGES, 1)

  def loss(p, x, weights):
    z = promise(x, weights)
    rest = None, z.x, z.weights, share, p[..., 0] != 0, 1e-5
    return jnp.sum(jnp.sin(outputs.blend(z.kind, False, p, *rest)[0]))

  at = jax.tree.map(jnp.asarray, (p, x, weights))
  every = jax.grad(loss, (0, 1, 2))(*at)
  for n in range(3):
    alone = jax.grad(loss, n)(*at)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14),
      alone,
      every[n],
    )


def test_what_is_normalised_stands_for_its_outputs():
  """Of a plain one, nothing of an output's size is kept beside the result."""
  x, weights, promise, _ = separated(8, 1, True)
  z = promise(jnp.asarray(x), jax.tree.map(jnp.asarray, weights))
  p = jnp.ones((1, STACK * EDGES, 1))
  rest = jnp.asarray(shares()), p[..., 0] != 0, 1e-5

  def kept(plain):
    run = functools.partial(outputs.blend, z.kind, plain)
    out, pull = jax.vjp(lambda *at: run(p, None, *at, *rest)[0], *z[1:])
    large = [k for k in jax.tree.leaves(pull) if k.shape == z.shape]
    return len(large), any(np.array_equal(k, out) for k in large)

  assert kept(False) == (1, False) and kept(True) == (1, True)

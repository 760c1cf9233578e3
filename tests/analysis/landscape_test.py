"""Lines and planes of functions whose values are known."""

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.analysis import landscape

AT = {
  'kernel': jnp.arange(1.0, 25).reshape(2, 3, 4),
  'depthwise': jnp.arange(1.0, 55).reshape(2, 3, 3, 3),
  'scale': jnp.ones((2, 1, 1, 1, 3)),
  'bias': jnp.ones(5),
}


def test_a_plane_of_a_quadratic():
  at = {'a': jnp.array([1.0, 2.0]), 'b': jnp.array([3.0])}
  one = {'a': jnp.array([1.0, 0.0]), 'b': jnp.array([0.0])}
  two = {'a': jnp.array([0.0, 0.0]), 'b': jnp.array([2.0])}
  steps = np.array([-1.0, 0.0, 0.5], np.float32)
  others = np.array([-2.0, 1.0], np.float32)

  def f(x):
    return {'loss': jnp.sum(x['a'] ** 2) + x['b'][0], 'first': x['a'][0]}

  axes = (one, jnp.asarray(steps)), (two, jnp.asarray(others))
  found = landscape.along(f, at, *axes)
  s, t = np.meshgrid(steps, others, indexing='ij')
  np.testing.assert_allclose(found['loss'], (1 + s) ** 2 + 4 + 3 + 2 * t)
  np.testing.assert_allclose(found['first'], 1 + s)
  cut = landscape.along(f, at, axes[0])
  np.testing.assert_allclose(cut['loss'], (1 + steps) ** 2 + 4 + 3)


def test_every_filter_s_direction_is_as_long_as_the_filter():
  d = landscape.filterwise(np.random.default_rng(0), AT)
  for edge in range(2):
    for out in range(4):
      own, theirs = AT['kernel'][edge, :, out], d['kernel'][edge, :, out]
      np.testing.assert_allclose(
        np.linalg.norm(theirs), np.linalg.norm(own), rtol=1e-5
      )
    for out in range(3):
      own, theirs = (x['depthwise'][edge, :, :, out] for x in (AT, d))
      np.testing.assert_allclose(
        np.linalg.norm(theirs), np.linalg.norm(own), rtol=1e-5
      )
  assert not d['scale'].any() and not d['bias'].any()
  other = landscape.filterwise(np.random.default_rng(1), AT)
  assert not np.allclose(d['kernel'], other['kernel'])


def test_an_even_direction_has_a_root_mean_square_of_one_in_all():
  d = landscape.even(np.random.default_rng(0), AT)
  square = sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(d))
  size = sum(x.size for x in jax.tree.leaves(d))
  np.testing.assert_allclose(square, size, rtol=1e-5)

"""The rise in a ball against closed forms."""

import jax
import jax.numpy as jnp
import pytest

from sdnas_jax.analysis import ball


def test_a_linear_loss_rises_by_the_radius_times_its_slope():
  slope = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([[4.0]])}

  def loss(x):
    return sum(jnp.sum(slope[k] * x[k]) for k in x) + 7

  at = jax.tree.map(jnp.ones_like, slope)
  assert float(ball.rise(loss, at, 0.1, 1)) == pytest.approx(0.5, rel=1e-5)


def test_further_steps_turn_to_the_steepest_direction():
  # Along the first gradient, x alone; from there y is steeper. The maximum of
  # (x^2 + 9 y^2) / 2 around (1, 0.1) on the sphere of radius 1, by search.
  def loss(z):
    return 0.5 * (z[0] ** 2 + 9 * z[1] ** 2)

  at = jnp.array([1.0, 0.1])
  angle = jnp.linspace(0, 2 * jnp.pi, 20001)
  circle = at[:, None] + jnp.stack([jnp.cos(angle), jnp.sin(angle)])
  best = float(jnp.max(loss(circle)) - loss(at))
  one, many = (float(ball.rise(loss, at, 1.0, n)) for n in (1, 30))
  assert one < many and many == pytest.approx(best, rel=1e-4)


def test_at_a_stationary_point_nothing_is_divided_by_zero():
  rise = ball.rise(lambda x: jnp.sum(x**2), jnp.zeros(3), 1.0, 2)
  assert float(rise) == 0

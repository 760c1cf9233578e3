"""The relaxation and its dead operations, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.methods import arch as archs


def by_hand(logits, mask):
  """Row by row, of the operations alive alone."""
  found = np.zeros_like(logits)
  for at in np.ndindex(mask.shape[:-1]):
    alive = np.flatnonzero(mask[at])
    if len(alive):
      e = np.exp(logits[at][alive] - logits[at][alive].max())
      found[at][alive] = e / e.sum()
  return found


def masked(shape, seed=0):
  """Logits and a mask with a dead row, one with one alive, one whole."""
  rng = np.random.default_rng(seed)
  logits = rng.standard_normal(shape).astype(np.float32)
  mask = rng.random(shape) < 0.6
  mask[..., 0, :], mask[..., 1, :] = False, np.arange(shape[-1]) == 2
  mask[..., 2, :] = True
  return logits, mask


@pytest.mark.parametrize('shape', [(5, 4), (3, 5, 4)])  # a kind's, a cell's
def test_rows_are_a_softmax_of_what_is_alive_or_nothing(shape):
  logits, mask = masked(shape)
  arch = archs.Arch({'cell': logits}, {'cell': mask})
  p = np.asarray(archs.softmax(arch, None)['cell'])
  np.testing.assert_allclose(p, by_hand(logits, mask), rtol=1e-6)
  assert (p[~mask] == 0).all()
  np.testing.assert_allclose(p.sum(-1), mask.any(-1), rtol=1e-6)


def test_gradients_are_finite_and_0_where_nothing_is_alive():
  logits, mask = masked((5, 4))
  weights = np.random.default_rng(1).standard_normal((5, 4))

  def loss(logits):
    return jnp.sum(weights * archs.alive(logits, mask))

  with jax.debug_nans(True):  # nor is any on the way
    slope = np.asarray(jax.grad(loss)(logits))
  p = by_hand(np.float64(logits), mask)
  expected = p * (weights - np.sum(p * weights, -1, keepdims=True))
  np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)
  assert (slope[~mask] == 0).all()


def test_logits_of_infinity_in_a_dead_place_do_no_harm():
  logits, mask = masked((5, 4))
  broken = np.where(mask, logits, np.inf).astype(np.float32)
  np.testing.assert_allclose(
    archs.alive(broken, mask), by_hand(logits, mask), rtol=1e-6
  )


def test_the_share_of_the_epochs():
  assert archs.Now(0, 3, 12).t == 0.25

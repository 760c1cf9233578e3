"""DARTS-PAP's penalty and criterion, by hand: there is no code to compare."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.data import split
from sdnas_jax.methods import arch as archs
from tests.golden import given

METHOD = methods.make('darts_pap', {'weight': 0.5})
LAST = given.now(9, 10)


def paid(p, mask=None, now=LAST):
  p = jnp.asarray([p])
  arch = given.arch({'cell': p}, None if mask is None else {'cell': mask})
  return METHOD.penalty(arch, {'cell': p}, now)


@pytest.mark.parametrize(
  'p, told',
  [
    ([1.0, 0.0, 0.0, 0.0], 0.0),
    ([0.25, 0.25, 0.25, 0.25], 1.5),
    ([0.5, 0.5, 0.0, 0.0], 0.5),
    ([0.7, 0.1, 0.1, 0.1], 0.6),  # 1.5 - (0.45 + 3 x 0.15)
  ],
)
def test_the_penalty_of_an_edge(p, told):
  assert paid(p) == pytest.approx(0.5 * 0.9 * told, abs=1e-7)
  assert paid(p, now=given.now(0, 10)) == 0


def test_what_is_dead_does_not_count():
  mask = np.array([[True, True, False, False]])
  assert paid([1.0, 0.0, 0.0, 0.0], mask) == pytest.approx(0, abs=1e-7)
  assert paid([0.5, 0.5, 0.0, 0.0], mask) == pytest.approx(0.45, abs=1e-7)
  assert paid([0.0] * 4, np.zeros((1, 4), bool)) == 0


def test_the_strongest_is_driven_up_and_the_others_down():
  alphas = {'cell': jnp.asarray([[0.3, 0.1, 0.0, -0.1]])}

  def value(alphas):
    arch = given.arch(alphas)
    return METHOD.penalty(arch, archs.softmax(arch, LAST), LAST)

  (slope,) = jax.grad(value)(alphas)['cell']
  assert slope[0] < 0 and (slope[2:] > 0).all()


def test_images_count_by_their_losses():
  logits = jnp.asarray([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0], [5.0, 0.0]])
  labels, present = jnp.asarray([0, 0, 1, 1]), jnp.asarray([1, 1, 1, 0], bool)
  batch = split.Batch(None, labels, None, present)
  value, slope = jax.value_and_grad(METHOD.criterion)(logits, batch)
  p = np.asarray(jax.nn.softmax(logits))
  labels = np.asarray(labels)
  losses = -np.log(p[np.arange(4), labels])
  share = losses * np.asarray(present)
  share /= share.sum()
  assert float(value) == pytest.approx((share * losses).sum(), rel=1e-6)
  plain = p - np.eye(2)[labels]
  np.testing.assert_allclose(slope, share[:, None] * plain, rtol=1e-5)
  assert methods.make('darts_pap', {'hard': False}).criterion is None

"""SDARTS-RS: weights trained under random noise (Chen and Hsieh, ICML 2020).

A weight step sees the softmax of the alphas with uniform noise, within a box
that grows by the epoch. `none` is not searched in DARTS's space.
"""

from functools import partial

from sdnas_jax.methods import method
from sdnas_jax.methods import perturbation
from sdnas_jax.methods.method import Method


def sdarts_rs(first: float = 0.03, last: float = 0.3) -> Method:
  """Uniform noise, in a box of half the width `first` to `last`."""
  noisy = partial(perturb, first=first, last=last)
  return Method(perturb=noisy, init=method.without_none)


def perturb(key, mix, loss, now, first, last):
  """Equation 5."""
  eps = perturbation.radius(now, first, last)
  return perturbation.shifted(mix, perturbation.noise(key, mix, eps))

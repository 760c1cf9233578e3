"""DARTS, second order: differentiates through one step of the weights.

As released, and in the paper's equation 8, a finite difference takes the place
of the second derivative: `difference=0.01`. Its virtual step is not clipped;
here it is the optimiser's own.
"""

from functools import partial

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.methods.method import Method


def darts2(difference: float = 0.0) -> Method:
  """Alphas by the validation loss after one step of the weights.

  With a `difference` by that, of so long a step of the weights; with 0 exact.
  """
  if difference < 0:
    raise ValueError('difference must not be negative: with 0 it is exact')
  if difference:
    return Method(hypergrad=partial(hypergrad.difference, r=difference))
  return Method(hypergrad=hypergrad.second_order)

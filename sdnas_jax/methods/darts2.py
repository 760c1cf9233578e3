"""DARTS, second order: differentiates through one step of the weights."""

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.methods.method import Method


def darts2() -> Method:
  """Alphas by the validation loss after one step of the weights."""
  return Method(hypergrad=hypergrad.second_order)

"""DARTS, first order (Liu, Simonyan and Yang, ICLR 2019).

With distillation, which composes with every method, this is SD-DARTS.
"""

from sdnas_jax.methods.method import Method


def darts() -> Method:
  """Alphas by the validation loss at the present weights."""
  return Method()

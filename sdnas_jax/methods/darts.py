"""DARTS, first order (Liu, Simonyan and Yang, ICLR 2019).

With distillation, which composes with every method, this is SD-DARTS.
"""

from sdnas_jax.methods import method

METHOD = method.Method()

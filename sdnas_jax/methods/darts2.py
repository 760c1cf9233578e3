"""DARTS, second order: differentiates through one step of the weights."""

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.methods import method

METHOD = method.Method(hypergrad=hypergrad.second_order)

"""iDARTS: the implicit gradient, by a Neumann series (Zhang et al., ICML 2021).

Weights that are at their optimum stay there as the alphas move, which tells how
they move along: dL_valid/da - (d2L_train/da dw) H^-1 dL_valid/dw. The inverse
is the first terms of its series. `inner` steps of the weights lie between two
of the alphas, whose training batch is one that no step has seen yet.

The mixed derivative is exact, which the release takes by a finite difference.
Its notebook for NAS-Bench-201 makes the inner steps on a copy of the optimiser,
so that no weight moves by them, and puts the weights back beside where they
were: not so here.
"""

from functools import partial

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.methods.method import Method


def idarts(inner: int = 4, terms: int = 2) -> Method:
  """Alphas move every `inner` steps, by `terms` of the series after the first.

  K is `terms`, T is `inner`, as the paper has them.
  """
  if inner < 1 or terms < 0:
    raise ValueError('inner must be at least 1, terms must not be negative')
  return Method(
    hypergrad=partial(hypergrad.neumann, terms=terms),
    moves=partial(moves, inner=inner),
  )


def moves(now, inner):
  """At an epoch's steps 0, T, 2T, ..."""
  return now.step % inner == 0

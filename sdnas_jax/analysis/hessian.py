"""The curvature of a loss, by Hessian-vector products.

  >>> times, n = linear(lambda x: jnp.sum(x**4) / 12, jnp.array([1.0, 2.0]))
  >>> lax.map(times, jnp.eye(n))
  Array([[1., 0.],
         [0., 4.]], dtype=float32)

Parameters are any tree. Products are reverse over reverse, which every
operation of the networks supports, and exact: no finite difference is taken.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import flatten_util
from jax import lax
import jax.numpy as jnp
from matfree import decomp
import numpy as np

Tree = Any
Loss = Callable[[Tree], jax.Array]
Product = Callable[[jax.Array], jax.Array]  # [n] to [n]
Atoms = tuple[jax.Array, jax.Array]  # values, and the weight of each


def product(loss: Loss, at: Tree, v: Tree) -> Tree:
  """The Hessian of the loss, times v; both are like the parameters."""
  return jax.vjp(jax.grad(loss), at)[1](v)[0]


def linear(loss: Loss, at: Tree) -> tuple[Product, int]:
  """The products at one point, of flat vectors, and their length n.

  The gradient is computed once for all of them, and what its derivative needs
  stays in memory.
  """
  x, unravel = flatten_util.ravel_pytree(at)
  _, back = jax.vjp(jax.grad(lambda x: loss(unravel(x))), x)
  return lambda v: back(v)[0], x.size


def lanczos(times: Product, v: jax.Array, products: int) -> Atoms:
  """Ritz values, ascending, and the squared weights of v [n] on them.

  There are n values at most. With full reorthogonalisation; the outermost
  converge first (Golub and Van Loan, chapter 10). The weights sum to 1.
  """
  decompose = decomp.tridiag_sym(min(products, v.size), reortho='full')
  _, tridiagonal, *_ = decompose(times, v)
  values, vectors = jnp.linalg.eigh(tridiagonal)
  return values, vectors[0] ** 2


def dominant(
  times: Product,
  n: int,
  key: jax.Array,
  products: int,
  among: np.ndarray | None = None,
) -> jax.Array:
  """The largest eigenvalue, as R-DARTS takes it: by value, not magnitude.

  With `among`, bool [n], of those numbers alone, where the other rows are zero.
  """
  start = jax.random.normal(key, (n,))
  start = start if among is None else jnp.where(among, start, 0)
  return lanczos(times, start, products)[0][-1]


def density(
  times: Product, n: int, key: jax.Array, products: int, samples: int
) -> Atoms:
  """The spectral density as atoms: values and weights [samples * products].

  By stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017); the weights sum
  to 1, and those of a value's neighbourhood estimate the share of eigenvalues
  in it.
  """

  def one(key):
    return lanczos(times, jax.random.normal(key, (n,)), products)

  values, weights = lax.map(one, jax.random.split(key, samples))
  return values.ravel(), weights.ravel() / samples

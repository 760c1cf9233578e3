"""Reconstruction: the formulas are not public. DARTS-PAP (MMM 2023).

Its abstract says that each edge's best operation is driven to weight 1 and the
others to 0, and that hard images count more in the alphas' gradient. Built here
are sum_e (t |p_e|_1 - |p_e - 1/n|_1), more by the epoch, for an edge of n
operations, with t = 2 (1 - 1/n): it is 0 if and only if one has all; and an
image's loss as its weight, in relation to the batch's, without a derivative.
"""

from functools import partial

from jax import lax
import jax.numpy as jnp
import optax

from sdnas_jax.methods.method import Method

LEAST = 1e-12


def darts_pap(weight: float = 0.01, hard: bool = True) -> Method:
  """Pays up to `weight`; without `hard` all images count the same."""
  if weight < 0:
    raise ValueError('weight must not be negative')
  return Method(
    penalty=partial(penalty, weight=weight),
    criterion=by_loss if hard else None,
  )


def penalty(arch, mix, now, weight):
  """weight t sum_e 2 (1 - 1/n) - |p_e - 1/n|_1."""
  total = 0.0
  for kind, alive in arch.mask.items():
    n = jnp.maximum(alive.sum(axis=-1, keepdims=True), 1)
    away = jnp.where(alive, jnp.abs(mix[kind] - 1 / n), 0)
    some = alive.any(axis=-1)
    most = jnp.where(some, 2 * (1 - 1 / n[..., 0]), 0)
    total += jnp.sum(most - away.sum(axis=-1))
  return weight * now.t * total


def by_loss(logits, batch):
  """sum_i l_i^2 / sum_i l_i of images' losses, one factor standing still."""
  each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
  share = lax.stop_gradient(each) * batch.present
  return jnp.sum(share * each) / jnp.maximum(jnp.sum(share), LEAST)

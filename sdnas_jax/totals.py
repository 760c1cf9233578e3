"""What an epoch's metrics are made of: the device adds, the host divides."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sdnas_jax.data import split

NEVER = jnp.iinfo(jnp.int32).max


class Totals(NamedTuple):
  """Over the rows of an epoch, or of a part of it."""

  rows: jax.Array
  loss: jax.Array  # cross-entropy, of the logits alone
  distill: jax.Array  # the distillation's term
  top1: jax.Array  # rows whose label comes first
  top5: jax.Array  # ... is among the first five
  diverged: jax.Array  # int32, first step whose loss or update was not finite


def zero() -> Totals:
  """The sums of nothing."""
  sums = (jnp.zeros(()) for _ in range(5))  # apart, as a donated state must be
  return Totals(*sums, diverged=jnp.full((), NEVER, jnp.int32))


def cross_entropy(
  logits: jax.Array, batch: split.Batch, smoothing: jax.Array | float = 0.0
) -> jax.Array:
  """Mean over the rows present, with smoothed labels.

  The label gets 1 - smoothing, and all classes, it too, an equal share of the
  rest (Szegedy et al. 2016, section 7).
  """
  if isinstance(smoothing, float) and smoothing == 0:
    each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
  else:
    target = jax.nn.one_hot(batch.label, logits.shape[-1])
    target = optax.smooth_labels(target, smoothing)
    each = optax.softmax_cross_entropy(logits, target)
  return jnp.sum(each * batch.present) / jnp.sum(batch.present)


def count(
  sums: Totals,
  logits: jax.Array,
  batch: split.Batch,
  loss: jax.Array,
  step: jax.Array,
  distill: jax.Array | float = 0.0,
) -> Totals:
  """Adds a batch, and notes the step if its loss is not finite."""
  rows = jnp.sum(batch.present)
  own = jnp.take_along_axis(logits, batch.label[:, None], axis=-1)
  # What ties or is no number comes first, so that it never counts as right.
  ahead = jnp.sum(~(logits < own), axis=-1) - 1
  added = Totals(
    rows=sums.rows + rows,
    loss=sums.loss + rows * loss,
    distill=sums.distill + rows * distill,
    top1=sums.top1 + jnp.sum((ahead < 1) & batch.present),
    top5=sums.top5 + jnp.sum((ahead < 5) & batch.present),
    diverged=sums.diverged,
  )
  return watch(added, loss + distill, step)


def watch(sums: Totals, value: jax.Array, step: jax.Array) -> Totals:
  """Notes the step if the value is not finite."""
  bad = jnp.where(jnp.isfinite(value), NEVER, step)
  return sums._replace(diverged=jnp.minimum(sums.diverged, bad))


def averages(sums: Totals) -> dict[str, float]:
  """Of each sum but the last, by the rows."""
  names = 'loss', 'distill', 'top1', 'top5'
  return {name: float(getattr(sums, name)) / float(sums.rows) for name in names}

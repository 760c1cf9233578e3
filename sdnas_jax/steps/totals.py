"""What an epoch's metrics are made of: the device adds, the host divides."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sdnas_jax.data import split

NEVER = jnp.iinfo(jnp.int32).max


class Totals(NamedTuple):
  """Over the rows of an epoch, or of a part of it."""

  rows: jax.Array  # int32, as what is counted
  loss: jax.Array  # cross-entropy, of the logits alone
  distill: jax.Array  # the distillation's term
  rest: dict[str, jax.Array]  # what float32 rounded off these two, to be added
  top1: jax.Array  # rows whose label comes first
  top5: jax.Array  # ... is among the first five
  diverged: jax.Array  # first step whose loss or update was not finite


def zero() -> Totals:
  """The sums of nothing."""
  # Apart, as a donated state must be.
  rows, top1, top5 = (jnp.zeros((), jnp.int32) for _ in range(3))
  loss, distill, *rest = (jnp.zeros(()) for _ in range(4))
  rest = dict(zip(('loss', 'distill'), rest, strict=True))
  never = jnp.full((), NEVER, jnp.int32)
  return Totals(rows, loss, distill, rest, top1, top5, never)


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
  rows = jnp.sum(batch.present, dtype=jnp.int32)
  own = jnp.take_along_axis(logits, batch.label[:, None], axis=-1)
  # What ties or is no number comes first, so that it never counts as right.
  ahead = jnp.sum(~(logits < own), axis=-1) - 1

  def right(first):
    return jnp.sum((ahead < first) & batch.present, dtype=jnp.int32)

  added = sums._replace(
    rows=sums.rows + rows,
    top1=sums.top1 + right(1),
    top5=sums.top5 + right(5),
  )
  for name, value in (('loss', loss), ('distill', distill)):
    added = _add(added, name, rows * value)
  return watch(added, loss + distill, step)


def _add(sums, name, value):
  """Kahan's sum: after a million batches as exact as after one."""
  old, value = getattr(sums, name), value + sums.rest[name]
  new = old + value
  rest = {**sums.rest, name: value - (new - old)}
  return sums._replace(rest=rest, **{name: new})


def watch(sums: Totals, value: jax.Array, step: jax.Array) -> Totals:
  """Notes the step if the value is not finite."""
  bad = jnp.where(jnp.isfinite(value), NEVER, step)
  return sums._replace(diverged=jnp.minimum(sums.diverged, bad))


def averages(sums: Totals) -> dict[str, float]:
  """Of each sum but the last, by the rows."""
  names = 'loss', 'distill', 'top1', 'top5'
  return {name: float(getattr(sums, name)) / float(sums.rows) for name in names}

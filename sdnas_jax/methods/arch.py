"""What is searched, when, and DARTS's relaxation of it.

Alphas, masks and mixes hold an array for each kind of cell: [edges,
primitives], or [cells of the kind, edges, primitives] where every cell has a
table of its own.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

Tree = Any
Mix = dict[str, jax.Array]


class Arch(NamedTuple):
  """An architecture as it is searched; all of it is in the checkpoint."""

  # Logits of each kind's operations; a method may add others by other names.
  alphas: dict[str, jax.Array]
  mask: dict[str, jax.Array]  # bool, the operations alive; rows may be dead
  own: Tree = ()  # a method's numbers


class Now(NamedTuple):
  """When a step is done, or a mix is looked at."""

  step: jax.Array  # within the epoch
  epoch: jax.Array  # of the stage, or of what it continues, counted from 0
  epochs: jax.Array  # in all

  @property
  def t(self) -> jax.Array:
    """The share of the epochs that are done, in [0, 1]."""
    return self.epoch / self.epochs


def softmax(arch: Arch, now: Now) -> Mix:
  """DARTS's continuous relaxation (Liu et al. 2019, equation 2).

  Returns:
    Weights for each kind of cell; each row sums to 1 over its operations that
    are alive, or is 0 where none is.
  """
  del now
  return {kind: alive(arch.alphas[kind], m) for kind, m in arch.mask.items()}


def alive(logits: jax.Array, mask: jax.Array) -> jax.Array:
  """Softmax over the last axis, of what the mask leaves; else 0."""
  # An empty row would be nan, in its derivative too.
  some = jnp.any(mask, axis=-1, keepdims=True)
  logits = jnp.where(mask | ~some, logits, -jnp.inf)
  return jnp.where(mask, jax.nn.softmax(logits, axis=-1), 0.0)


def entropy(logits: jax.Array, mask: jax.Array) -> jax.Array:
  """Of `alive` over the last axis: [...], 0 where nothing is alive."""
  # p log p itself is nan where p underflows, in its derivative too.
  log = jax.nn.log_softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
  return -jnp.sum(alive(logits, mask) * jnp.where(mask, log, 0), axis=-1)

"""The supernet: every edge of every cell carries a mixture of all primitives.

The mixing weights are an argument; the supernet never sees the alphas.

  >>> net = supernet.Supernet(spaces.SPACES['darts'], classes=10)
  >>> variables = net.init(key, images, mix)
  >>> logits = net.apply(variables, images, mix)
"""

from collections.abc import Mapping
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.networks import columns
from sdnas_jax.networks import ops
from sdnas_jax.networks import sharing
from sdnas_jax.spaces import space as spaces

Mix = Mapping[str, jax.Array]


class Cell(nn.Module):
  """A directed acyclic graph of mixed operations (DARTS, section 2.1)."""

  space: spaces.Space
  channels: int
  reduction: bool
  after_reduction: bool
  partial: int = 1
  auxiliary: bool = False

  @nn.compact
  def __call__(
    self, s0: jax.Array, s1: jax.Array, mix: jax.Array, ctx: ops.Context
  ) -> jax.Array:
    """From two [1, batch, ...] inputs to a [1, batch, ...] output."""
    shrink = ops.FactorizedReduce if self.after_reduction else ops.ReluConvNorm
    states = {
      0: shrink(1, self.channels, name='preprocess0')(s0, ctx),
      1: ops.ReluConvNorm(1, self.channels, name='preprocess1')(s1, ctx),
    }
    groups = self.space.groups('reduce' if self.reduction else 'normal')
    mixed = ops.MixedOp
    if self.partial > 1 or self.auxiliary:
      mixed = functools.partial(
        columns.MixedOp, partial=self.partial, auxiliary=self.auxiliary
      )
    # One gather, since each is compiled.
    mix = mix[np.concatenate([group.edges for group in groups])]
    for n, (name, source, edges, primitives) in enumerate(groups):
      own, mix = mix[: len(edges)], mix[len(edges) :]
      own = columns.among(self.space.primitives, primitives, own)
      stride = 2 if self.reduction and source < self.space.inputs else 1
      op = mixed(primitives, self.channels, stride, parent=None)
      here = ctx.at(n)
      out = sharing.call(self, name, op, states[source], own, here)
      shape = *out.shape[:2], 1, 1, 1
      out = here.dropped('drop_path', out, shape)
      for edge, y in zip(edges, jnp.split(out, len(edges)), strict=True):
        target = self.space.edges[edge][1]
        states[target] = states.get(target, 0.0) + y
    return jnp.concatenate([states[n] for n in self.space.targets], axis=-1)


class Base(nn.Module):
  """What the supernets of all spaces have, besides `cells`: each one's kind."""

  space: spaces.Space
  classes: int
  channels: int = 16
  layers: int = 8
  depthwise: str = 'auto'
  bf16: bool = False  # compute in bfloat16; see `ops`
  remat: bool = False  # compute cells again in the backward pass: less memory
  partial: int = 1  # the operations see a k-th of the channels; see `columns`
  auxiliary: bool = False  # a skip beside the operations
  per_cell: bool = False  # a table a cell, not a kind

  @property
  def numbers(self) -> dict[str, tuple[int, ...]]:
    """The layers of each kind's cells."""
    pairs = [*enumerate(self.cells)]
    return {
      kind: tuple(n for n, own in pairs if own == kind)
      for kind in self.space.kinds
    }

  @property
  def tables(self) -> dict[str, tuple[int, ...]]:
    """The shape of each kind's alphas; with `per_cell`, cells first."""
    count = self.cells.count
    return {
      kind: (count(kind),) * self.per_cell + self.space.shape
      for kind in self.space.kinds
    }


class Supernet(Base):
  """Stem, cells, global average pooling, classifier.

  Cells at 1/3 and 2/3 of the depth halve the resolution and double the
  channels.
  """

  stem: int = 3

  @property
  def cells(self) -> tuple[str, ...]:
    """Each cell's kind."""
    return tuple(
      'reduce' if layer in spaces.reductions(self.layers) else 'normal'
      for layer in range(self.layers)
    )

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    mix: Mix,
    train: bool = False,
    present: jax.Array | None = None,
  ) -> jax.Array:
    """Class logits.

    Args:
      images: [batch, height, width, channels] float.
      mix: [edges, columns] mixing weights for each kind of cell, or [cells of
        the kind, edges, columns]. It may say what to drop, have the noise's
        key, and by a key `open` say that nothing is dead, see `ops.Context`.
      train: whether to normalise by the batch's own statistics.
      present: [batch] bool, false for rows that only pad the batch.

    Returns:
      [batch, classes].
    """
    ctx = ops.context(images, train, present, self.depthwise, self.bf16)
    ctx = ctx.noisy('noise' in self.space.primitives).dropping(mix)
    images = images.astype(jnp.bfloat16) if self.bf16 else images
    s0 = s1 = ops.Stem(self.stem * self.channels, name='stem')(images, ctx)
    channels, after = self.channels, False
    for layer, kind in enumerate(self.cells):
      reduction = kind == 'reduce'
      channels *= 1 + reduction
      cell = nn.remat(Cell) if self.remat else Cell
      cell = cell(
        *(self.space, channels, reduction, after),
        *(self.partial, self.auxiliary),
        name=f'cell{layer}',
      )
      own = mix[kind]
      if own.ndim == 3:
        own = own[self.cells[:layer].count(kind)]
      s0, s1 = s1, cell(s0, s1, own, ctx.at(layer))
      after = reduction
    return ops.Classifier(self.classes, name='classifier')(s1)

"""Self-distillation: the supernet is taught by what it said in past epochs.

SD-DARTS (Zhu et al. 2023) adds to the weights' loss a distance between the
supernet's class probabilities and a teacher's, on the training half,

  L_train(w, a) + weight * D(teacher, student),

where the teacher of an example is the mean of the probabilities that the
supernet gave it in the last K epochs (section 3.4, "voting teachers"). They
are recorded as they arise, from the training forward pass itself, and read by
the example's index from a `Memory` that lives on the device.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
import optax

Tree = Any


class Memory(NamedTuple):
  """What is remembered of each training example, as three pure functions.

  Indices outside [0, examples) mark rows that only pad a batch: they read
  as unknown and write nothing.
  """

  # (examples, classes) -> memory
  init: Callable[[int, int], Tree]
  # (memory, index [B]) -> teacher [B, classes], known [B] bool
  read: Callable[[Tree, jax.Array], tuple[jax.Array, jax.Array]]
  # (memory, index [B], probabilities [B, classes]) -> memory
  push: Callable[[Tree, jax.Array, jax.Array], Tree]


class Batch(Protocol):
  """What the term asks of a batch."""

  index: jax.Array  # int32 [batch]
  present: jax.Array  # bool [batch]


class Ring(NamedTuple):
  """Probabilities by slot and example, and how many each example has had."""

  probs: jax.Array  # [slots, examples, classes] float32
  count: jax.Array  # [examples] int32


def _ring(slots, examples, classes):
  return Ring(
    jnp.zeros((slots, examples, classes), jnp.float32),
    jnp.zeros((examples,), jnp.int32),
  )


def _count(ring, index):
  return ring.count.at[index].get(mode='fill', fill_value=0)


@functools.cache  # equal terms are one to a compiled step
def window(teachers: int) -> Memory:
  """The mean of the last `teachers` records; of fewer, where there are fewer.

  An example's n-th record lies in slot n % teachers, so an epoch that misses
  an example overwrites nothing.
  """

  def read(ring, index):
    count = _count(ring, index)
    slot = jnp.arange(teachers)[:, None]
    share = (slot < count[None]) / jnp.clip(count, 1, teachers)[None]
    probs = ring.probs.at[:, index].get(mode='fill', fill_value=0.0)
    return jnp.sum(share[:, :, None] * probs, axis=0), count > 0

  def push(ring, index, probs):
    slot = _count(ring, index) % teachers
    return Ring(
      ring.probs.at[slot, index].set(probs, mode='drop'),
      ring.count.at[index].add(1, mode='drop'),
    )

  return Memory(lambda n, c: _ring(teachers, n, c), read, push)


@functools.cache
def average(decay: float) -> Memory:
  """A decayed exponential average, the paper's proposed future work.

  teacher <- decay * teacher + (1 - decay) * record, from the first record on.
  """

  def read(ring, index):
    probs = ring.probs.at[0, index].get(mode='fill', fill_value=0.0)
    return probs, _count(ring, index) > 0

  def push(ring, index, probs):
    old, known = read(ring, index)
    mean = jnp.where(known[:, None], decay * old + (1 - decay) * probs, probs)
    return Ring(
      ring.probs.at[0, index].set(mean, mode='drop'),
      ring.count.at[index].add(1, mode='drop'),
    )

  return Memory(lambda n, c: _ring(1, n, c), read, push)


# Remembers nothing: plain DARTS, without the ring's memory.
OFF = Memory(
  init=lambda examples, classes: (),
  read=lambda memory, index: (None, None),
  push=lambda memory, index, probs: memory,
)


def kl(teacher: jax.Array, logits: jax.Array) -> jax.Array:
  """KL(teacher || student), the paper's metric: [..., classes] -> [...]."""
  return jnp.sum(
    xlogy(teacher, teacher) - teacher * jax.nn.log_softmax(logits), axis=-1
  )


def reverse_kl(teacher: jax.Array, logits: jax.Array) -> jax.Array:
  """KL(student || teacher); a teacher's zero counts as 1e-12."""
  student = jax.nn.log_softmax(logits)
  teacher = jnp.log(jnp.maximum(teacher, 1e-12))
  return jnp.sum(jnp.exp(student) * (student - teacher), axis=-1)


def euclidean(teacher: jax.Array, logits: jax.Array) -> jax.Array:
  """|teacher - student|_2, with gradient 0 where they agree."""
  difference = teacher - jax.nn.softmax(logits)
  return optax.safe_norm(difference, 0.0, ord=2, axis=-1)


def manhattan(teacher: jax.Array, logits: jax.Array) -> jax.Array:
  """|teacher - student|_1."""
  return jnp.sum(jnp.abs(teacher - jax.nn.softmax(logits)), axis=-1)


def cosine(teacher: jax.Array, logits: jax.Array) -> jax.Array:
  """1 - cos(teacher, student)."""
  student = jax.nn.softmax(logits)
  norms = jnp.linalg.norm(teacher, axis=-1) * jnp.linalg.norm(student, axis=-1)
  dot = jnp.sum(teacher * student, axis=-1)
  return 1 - dot / jnp.maximum(norms, 1e-12)


METRICS = {
  'kl': kl,
  'reverse_kl': reverse_kl,
  'euclidean': euclidean,
  'manhattan': manhattan,
  'cosine': cosine,
}
VOTES = ('mean', 'average')


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['weight', 'warmup', 'temperature'],
  meta_fields=['memory', 'metric'],
)
@dataclasses.dataclass(frozen=True)
class Distillation:
  """The distillation term of the weights' loss.

  A compiled step serves all values of its numbers.
  """

  memory: Memory
  metric: Callable[[jax.Array, jax.Array], jax.Array]
  weight: float
  warmup: int
  temperature: float

  def soften(self, logits: jax.Array) -> jax.Array:
    """The probabilities to remember."""
    return jax.nn.softmax(logits / self.temperature)

  def loss(
    self,
    memory: Tree,
    batch: Batch,
    logits: jax.Array,
    epoch: jax.Array,
  ) -> jax.Array:
    """D(teacher, student), averaged over the batch; 0 in the warm-up.

    Both sides are softened by the temperature; the divergences are scaled by
    its square, which keeps their gradient's size (Hinton et al. 2015). An
    example without a record, which only the first epoch has, adds nothing.

    Args:
      memory: the state of `self.memory`.
      batch: its rows' `index` and whether they are `present`, both [batch].
      logits: [batch, classes] of the student.
      epoch: the current one, counted from 0.
    """
    teacher, known = self.memory.read(memory, batch.index)
    if teacher is None:
      return jnp.zeros(())
    distance = self.metric(teacher, logits / self.temperature)
    if self.metric in (kl, reverse_kl):
      distance *= self.temperature**2
    mean = jnp.sum(jnp.where(known, distance, 0.0)) / jnp.sum(batch.present)
    return jnp.where(epoch >= self.warmup, mean, 0.0)


def make(
  weight: float,
  teachers: int,
  warmup: int,
  metric: str,
  temperature: float,
  vote: str,
  decay: float,
) -> Distillation:
  """The term that `config.distill` describes; a weight of 0 turns it off."""
  memory = window(teachers) if vote == 'mean' else average(decay)
  return Distillation(
    memory=memory if weight else OFF,
    metric=METRICS[metric],
    weight=weight,
    warmup=warmup,
    temperature=temperature,
  )

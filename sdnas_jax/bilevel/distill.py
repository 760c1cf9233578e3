"""Self-distillation: the supernet is taught by what it said in past epochs.

SD-DARTS (Zhu et al. 2023) adds to the weights' loss a distance between the
supernet's class probabilities and a teacher's, on the training half,

  L_train(w, a) + weight * D(teacher, student),

where the teacher of an example is the mean of the probabilities that the
supernet gave it in the last K epochs (section 3.4, "voting teachers"). They
are recorded as they arise, from the training forward pass itself, and read by
the example's index from a memory that lives on the device. Who teaches is a
value, a `Teacher`.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
import optax

Tree = Any


class Teacher(NamedTuple):
  """What is remembered of each training example, as three pure functions.

  Indices from `examples` on mark rows that only pad a batch: they read as
  unknown and write nothing. A teacher that needs more than what the student
  said keeps weights in its memory and runs them: `see` is the batch's forward
  pass, and `push` is given the weights after the step.
  """

  # (examples, classes, weights) -> memory
  init: Callable[[int, int, Tree], Tree]
  # (memory, index [B], see) -> teacher [B, classes], known [B] bool; see is
  # (weights) -> probabilities [B, classes]
  read: Callable[..., tuple[jax.Array | None, jax.Array | None]]
  # (memory, index [B], probabilities [B, classes], weights) -> memory
  push: Callable[[Tree, jax.Array, jax.Array, Tree], Tree]


class Ring(NamedTuple):
  """Probabilities by slot and example, and how many each example has had."""

  probs: jax.Array  # [slots, examples, classes] float32
  count: jax.Array  # [examples] int32


def _count(ring, index):
  return ring.count.at[index].get(mode='fill', fill_value=0)


@functools.cache  # equal terms are one to a compiled step
def window(teachers: int) -> Teacher:
  """The mean of the last `teachers` records; of fewer, where there are fewer.

  An example's n-th record lies in slot n % teachers, so an epoch that misses
  an example overwrites nothing.
  """

  def read(ring, index, see):
    count = _count(ring, index)
    slot = jnp.arange(teachers)[:, None]
    share = (slot < count[None]) / jnp.clip(count, 1, teachers)[None]
    probs = ring.probs.at[:, index].get(mode='fill', fill_value=0.0)
    return jnp.sum(share[:, :, None] * probs, axis=0), count > 0

  return Teacher(_started(teachers), read, _push)


@functools.cache
def lag(epochs: int) -> Teacher:
  """The record of exactly so many epochs ago (SAF, Du et al. 2022)."""

  def read(ring, index, see):
    count = _count(ring, index)
    slot = count % epochs  # the one that the next record overwrites
    probs = ring.probs.at[slot, index].get(mode='fill', fill_value=0.0)
    return probs, count >= epochs

  return Teacher(_started(epochs), read, _push)


def _started(slots):
  return lambda examples, classes, weights: Ring(
    jnp.zeros((slots, examples, classes), jnp.float32),
    jnp.zeros((examples,), jnp.int32),
  )


def _push(ring, index, probs, weights):
  slot = _count(ring, index) % len(ring.probs)
  return Ring(
    ring.probs.at[slot, index].set(probs, mode='drop'),
    ring.count.at[index].add(1, mode='drop'),
  )


@functools.cache
def ema(decay: float) -> Teacher:
  """A decayed exponential average, the paper's proposed future work.

  teacher <- decay * teacher + (1 - decay) * record, from the first record on.
  """

  def read(ring, index, see):
    probs = ring.probs.at[0, index].get(mode='fill', fill_value=0.0)
    return probs, _count(ring, index) > 0

  def push(ring, index, probs, weights):
    old, known = read(ring, index, None)
    mean = jnp.where(known[:, None], decay * old + (1 - decay) * probs, probs)
    return _push(ring, index, mean, weights)

  return Teacher(_started(1), read, push)


# Remembers nothing: plain DARTS, without the ring's memory.
OFF = Teacher(
  init=lambda examples, classes, weights: (),
  read=lambda memory, index, see: (None, None),
  push=lambda memory, index, probs, weights: memory,
)
TEACHERS = {'window': window, 'ema': ema, 'lag': lag}


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


@struct.dataclass
class Distillation:
  """The distillation term of the weights' loss.

  A compiled step serves all values of its numbers.
  """

  teacher: Teacher = struct.field(pytree_node=False)
  metric: Callable[..., jax.Array] = struct.field(pytree_node=False)
  weight: float
  warmup: int
  temperature: float

  def soften(self, logits: jax.Array) -> jax.Array:
    """The probabilities to remember."""
    return jax.nn.softmax(logits / self.temperature)

  def loss(
    self,
    memory: Tree,
    batch: Any,
    logits: jax.Array,
    epoch: jax.Array,
    see: Callable[[Tree], jax.Array],
  ) -> jax.Array:
    """D(teacher, student), averaged over the batch; 0 in the warm-up.

    Both sides are softened by the temperature; the divergences are scaled by
    its square, which keeps their gradient's size (Hinton et al. 2015). An
    example without a record, which only the first epoch has, adds nothing.

    Args:
      memory: of `self.teacher`.
      batch: its rows' `index`, int32, and whether they are `present`, bool.
      logits: [batch, classes] of the student.
      epoch: the current one, counted from 0.
      see: from weights to the batch's logits [batch, classes].
    """
    teacher, known = self.teacher.read(
      memory, batch.index, lambda w: self.soften(see(w))
    )
    if teacher is None:
      return jnp.zeros(())
    distance = self.metric(teacher, logits / self.temperature)
    if self.metric in (kl, reverse_kl):
      distance *= self.temperature**2
    mean = jnp.sum(jnp.where(known, distance, 0.0)) / jnp.sum(batch.present)
    return jnp.where(epoch >= self.warmup, mean, 0.0)


def make(
  weight: float,
  teacher: str,
  teachers: int,
  decay: float,
  warmup: int,
  metric: str,
  temperature: float,
) -> Distillation:
  """The term that `config.distill` describes; a weight of 0 turns it off."""
  number = decay if teacher == 'ema' else teachers
  return Distillation(
    teacher=TEACHERS[teacher](number) if weight else OFF,
    metric=METRICS[metric],
    weight=weight,
    warmup=warmup,
    temperature=temperature,
  )

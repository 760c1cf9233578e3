"""Self-distillation: the supernet is taught by what it said in past epochs.

SD-DARTS (Zhu et al. 2023) adds to the weights' loss a distance between the
supernet's class probabilities and a teacher's, on the training half,

  L_train(w, a) + weight * D(teacher, student),

where the teacher of an example is the mean of the probabilities that the
supernet gave it in the last K epochs (section 3.4, "voting teachers"). They
are recorded as they arise, from the training forward pass itself, and read by
the example's index from a memory that lives on the device. Other teachers:
`teachers.py`.
"""

from collections.abc import Callable
from typing import Any

from flax import struct
import jax
from jax import lax
import jax.numpy as jnp
from jax.scipy.special import xlogy
import optax

from sdnas_jax.bilevel import teachers as who

Tree = Any


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


def squared(teacher: jax.Array, logits: jax.Array) -> jax.Array:
  """(teacher - student)^2, a class's mean (Mean Teacher)."""
  return jnp.mean((teacher - jax.nn.softmax(logits)) ** 2, axis=-1)


METRICS = {
  'kl': kl,
  'reverse_kl': reverse_kl,
  'euclidean': euclidean,
  'manhattan': manhattan,
  'cosine': cosine,
  'squared': squared,
}


@struct.dataclass
class Distillation:
  """The distillation term of the weights' loss.

  A compiled step serves all values of its numbers.
  """

  teacher: who.Teacher = struct.field(pytree_node=False)
  metric: Callable[..., jax.Array] = struct.field(pytree_node=False)
  weight: float
  warmup: int
  temperature: float
  ramp: float | None = None  # epochs in which the weight rises; None: none

  def soften(self, logits: jax.Array) -> jax.Array:
    """The probabilities to remember."""
    return jax.nn.softmax(logits / self.temperature)

  def weigh(self, epoch: jax.Array) -> jax.Array | float:
    """The weight at an epoch, which may rise from exp(-5) of it at first.

    Mean Teacher's ramp (Tarvainen and Valpola 2017), behind the warm-up.
    """
    if self.ramp is None:
      return self.weight
    left = 1 - jnp.clip((epoch - self.warmup) / self.ramp, 0, 1)
    return self.weight * jnp.exp(-5 * left**2)

  def loss(
    self,
    memory: Tree,
    batch: Any,
    logits: jax.Array,
    epoch: jax.Array,
    see: Callable[..., jax.Array],
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
      see: from weights, or from weights and running statistics, to the batch's
        logits [batch, classes]. No gradient goes back through it.
    """
    teacher, known = self.teacher.read(
      memory,
      batch.index,
      lambda *network: lax.stop_gradient(self.soften(see(*network))),
    )
    if teacher is None:
      return jnp.zeros(())
    known = batch.present if known is None else known
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
  ramp: int,
  metric: str,
  temperature: float,
) -> Distillation:
  """The term that `config.distill` describes; a weight of 0 turns it off."""
  number = teachers if teacher in ('window', 'lag') else decay
  return Distillation(
    teacher=who.TEACHERS[teacher](number) if weight else who.OFF,
    metric=METRICS[metric],
    weight=weight,
    warmup=warmup,
    temperature=temperature,
    ramp=float(ramp) if ramp else None,
  )

"""The memory against a Python dict of lists, the metrics against NumPy."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import teachers
from tests import toys


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def visits(rng, examples, batch):
  """Batches of distinct indices, with gaps between them and padded rows."""
  for _ in range(25):
    index = rng.permutation(examples)[:batch]
    index[rng.random(batch) < 0.2] = examples
    yield index, softmax(rng.standard_normal((batch, 3))).astype(np.float32)


def follow(teacher, rng, expected, note):
  """Compares a teacher with what is expected of each example at each visit.

  Args:
    teacher: of ten examples and three classes.
    rng: of the visits.
    expected: from an example to its teacher, or None if it has none.
    note: (example, probabilities) -> None, after each visit.

  Returns:
    The teacher's memory at the end.
  """
  state = teacher.init(10, 3, None)
  read = jax.jit(lambda state, index: teacher.read(state, index, None))
  push = jax.jit(lambda state, *said: teacher.push(state, *said, None))
  for index, probs in visits(rng, 10, 4):
    taught, known = read(state, index)
    for row, n in enumerate(index):
      said = expected(n) if n < 10 else None
      assert bool(known[row]) == (said is not None)
      if said is not None:
        np.testing.assert_allclose(taught[row], said, rtol=1e-5)
    state = push(state, index, probs)
    for n, p in zip(index, probs, strict=True):
      if n < 10:
        note(n, p)
  return state


@pytest.mark.parametrize('count', [1, 2, 3])
def test_window_equals_a_dict_of_lists(count):
  rng = np.random.default_rng(count)
  past = {n: [] for n in range(10)}

  def mean(n):
    said = past[n][-count:]
    return np.mean(said, 0) if said else None

  def note(n, p):
    past[n].append(p)

  state = follow(teachers.window(count), rng, mean, note)
  assert max(map(len, past.values())) > count  # it did wrap around
  np.testing.assert_array_equal(state.count, [len(past[n]) for n in range(10)])


@pytest.mark.parametrize('epochs', [1, 2, 3])
def test_lag_is_what_was_said_so_many_records_ago(epochs):
  """SAF: nothing is known before the record of then exists."""
  past = {n: [] for n in range(10)}

  def then(n):
    return past[n][-epochs] if len(past[n]) >= epochs else None

  def note(n, p):
    past[n].append(p)

  rng = np.random.default_rng(epochs)
  state = follow(teachers.lag(epochs), rng, then, note)
  assert state.probs.shape == (epochs, 10, 3)
  assert max(map(len, past.values())) > 2 * epochs


def test_ema_equals_its_recursion():
  mean = {}

  def note(n, p):
    mean[n] = 0.7 * mean[n] + 0.3 * p if n in mean else p

  follow(teachers.ema(0.7), np.random.default_rng(0), mean.get, note)
  assert len(mean) == 10


def test_equal_teachers_are_one_to_a_compiled_step():
  for make, number in (
    (teachers.window, 2),
    (teachers.lag, 3),
    (teachers.ema, 0.5),
    (teachers.mesa, 0.5),
    (teachers.mean_teacher, 0.5),
  ):
    assert make(number) is make(number)


EXPECTED = {
  'kl': lambda q, p: np.sum(q * np.log(q / p), -1),
  'reverse_kl': lambda q, p: np.sum(p * np.log(p / q), -1),
  'euclidean': lambda q, p: np.sqrt(np.sum((q - p) ** 2, -1)),
  'manhattan': lambda q, p: np.sum(np.abs(q - p), -1),
  'cosine': lambda q, p: (
    1
    - np.sum(q * p, -1)
    / np.linalg.norm(q, axis=-1)
    / np.linalg.norm(p, axis=-1)
  ),
  'squared': lambda q, p: np.mean((q - p) ** 2, -1),
}


@pytest.mark.parametrize('name', sorted(distill.METRICS))
def test_metric_equals_numpy_and_vanishes_at_the_teacher(name):
  rng = np.random.default_rng(0)
  logits = rng.standard_normal((5, 4)).astype(np.float32)
  teacher = softmax(rng.standard_normal((5, 4))).astype(np.float32)
  metric = distill.METRICS[name]
  expected = EXPECTED[name](teacher, softmax(logits))
  np.testing.assert_allclose(metric(teacher, logits), expected, rtol=2e-5)
  same = jax.nn.softmax(logits)
  np.testing.assert_allclose(metric(same, logits), np.zeros(5), atol=2e-6)
  slope = jax.grad(lambda z: metric(same, z).sum())(logits)
  assert np.isfinite(slope).all()


def test_kl_s_gradient_is_student_minus_teacher():
  rng = np.random.default_rng(1)
  logits, other = rng.standard_normal((2, 5, 4)).astype(np.float32)
  slope = jax.grad(lambda z: distill.kl(softmax(other), z).sum())(logits)
  np.testing.assert_allclose(slope, softmax(logits) - softmax(other), atol=1e-6)


def test_kl_takes_a_teacher_of_zeros_and_ones():
  logits = jnp.array([[1.0, 2.0]])
  np.testing.assert_allclose(
    distill.kl(jnp.array([[1.0, 0.0]]), logits), [np.log1p(np.e)], rtol=1e-6
  )


class Batch(NamedTuple):
  index: jax.Array
  present: jax.Array


def unseen(weights):
  raise AssertionError('these teachers run no weights')


def test_loss_by_hand_with_unknown_and_padded_rows():
  made, rng = toys.term(warmup=3, temperature=2.0), np.random.default_rng(0)
  logits, old = rng.standard_normal((2, 4, 3)).astype(np.float32)
  index = jnp.array([0, 2, 4, 5])  # 4: never seen; 5: padding, of 5 examples
  state = made.teacher.init(5, 3, None)
  state = made.teacher.push(state, index[:2], made.soften(old[:2]), None)
  batch = Batch(index, index < 5)
  loss = made.loss(state, batch, logits, epoch=3, see=unseen)
  q, p = softmax(old[:2] / 2), softmax(logits[:2] / 2)
  expected = 4 * np.sum(q * np.log(q / p)) / 3  # T^2, three rows are examples
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert float(made.loss(state, batch, logits, epoch=2, see=unseen)) == 0


def test_lag_softens_by_the_temperature_as_saf_and_waits_its_epochs():
  """Du et al. 2022: KL to the softened record of E epochs ago, times T^2."""
  made = toys.term(teacher='lag', teachers=2, temperature=3.0)
  rng = np.random.default_rng(0)
  said = rng.standard_normal((4, 2, 3)).astype(np.float32)
  index = jnp.arange(2)
  batch, state = Batch(index, index < 2), made.teacher.init(2, 3, None)
  for epoch in range(4):
    loss = made.loss(state, batch, said[epoch], epoch=epoch, see=unseen)
    if epoch < 2:
      assert float(loss) == 0
    else:
      q, p = softmax(said[epoch - 2] / 3), softmax(said[epoch] / 3)
      expected = 9 * np.mean(np.sum(q * np.log(q / p), axis=-1))
      np.testing.assert_allclose(loss, expected, rtol=1e-4)
    state = made.teacher.push(state, index, made.soften(said[epoch]), None)


def test_a_teacher_may_run_the_weights_it_remembers():
  """The seam for teachers of another network: it sees what it asks for."""
  teacher = teachers.Teacher(
    init=lambda examples, classes, weights: weights,
    read=lambda memory, index, see: (see(memory), index < 5),
    push=lambda memory, index, probs, weights: 0.5 * (memory + weights),
  )
  made = toys.term(temperature=2.0)
  made = dataclasses.replace(made, teacher=teacher)
  rng = np.random.default_rng(0)
  x, w, moved = (rng.standard_normal(s) for s in ((4, 2), (2, 3), (2, 3)))
  memory = made.teacher.init(5, 3, w)
  memory = made.teacher.push(memory, None, None, moved)
  index = jnp.array([0, 1, 2, 5])
  logits = rng.standard_normal((4, 3))
  loss = made.loss(
    memory, Batch(index, index < 5), logits, epoch=0, see=lambda w: x @ w
  )
  q, p = softmax(x @ (w + moved) / 4), softmax(logits / 2)
  each = np.sum(q * np.log(q / p), axis=-1)
  np.testing.assert_allclose(loss, 4 * np.sum(each[:3]) / 3, rtol=1e-5)


def test_a_weight_of_zero_remembers_nothing():
  made = toys.term(weight=0.0)
  state = made.teacher.init(5, 3, None)
  assert jax.tree.leaves(state) == []
  index, logits = jnp.array([0]), jnp.ones((1, 3))
  assert made.teacher.push(state, index, logits, None) == state
  batch = Batch(index, index == 0)
  assert float(made.loss(state, batch, logits, epoch=9, see=unseen)) == 0


def said(teacher, memory, x):
  """What a linear teacher says of inputs; a statistic shifts its logits."""
  see = lambda w, shift=0.0: x @ w + shift  # noqa: E731
  return teacher.read(memory, None, see)[0]


def test_mesa_averages_weights_and_statistics_from_a_copy_on():
  rng, teacher = np.random.default_rng(0), teachers.mesa(0.7)
  x, first = rng.standard_normal((4, 2)), rng.standard_normal((2, 3))
  memory = teacher.init(5, 3, teachers.Student(first, first[0]))
  w, shift = first, first[0]
  for _ in range(4):
    new = rng.standard_normal((2, 3))
    memory = teacher.push(memory, None, None, teachers.Student(new, new[0]))
    w, shift = 0.7 * w + 0.3 * new, 0.7 * shift + 0.3 * new[0]
    expected = x @ w + shift
    np.testing.assert_allclose(said(teacher, memory, x), expected, rtol=1e-5)


@pytest.mark.parametrize('decay', [0.0, 0.6, 1.0])
def test_a_mean_teacher_is_the_mean_of_all_at_first(decay):
  """Of a copy and the weights since; with no decay, of the last alone."""
  rng, teacher = np.random.default_rng(0), teachers.mean_teacher(decay)
  x, past = rng.standard_normal((4, 2)), [rng.standard_normal((2, 3))]
  memory = teacher.init(5, 3, teachers.Student(past[0], None))
  mean = past[0]
  for n in range(1, 6):
    past.append(rng.standard_normal((2, 3)))
    memory = teacher.push(memory, None, None, teachers.Student(past[-1], None))
    d = min(1 - 1 / (n + 1), decay)
    mean = d * mean + (1 - d) * past[-1]
    found = said(teacher, memory, x)
    np.testing.assert_allclose(found, x @ mean, rtol=1e-5, atol=1e-6)
  if decay == 1:
    np.testing.assert_allclose(found, x @ np.mean(past, 0), rtol=1e-5)
  if not decay:
    np.testing.assert_allclose(found, x @ past[-1], rtol=1e-5)


def test_a_teacher_of_all_knows_no_padding_and_passes_no_gradient():
  made = toys.term(teacher='mesa', temperature=2.0)
  rng = np.random.default_rng(0)
  x, w, logits = (rng.standard_normal(s) for s in ((4, 2), (2, 3), (4, 3)))
  memory, index = teachers.Student(w, None), jnp.array([0, 1, 2, 5])

  def loss(logits, x):
    see = lambda w, stats: x @ w  # noqa: E731
    return made.loss(memory, Batch(index, index < 5), logits, 0, see)

  q, p = softmax(x @ w / 2), softmax(logits / 2)
  each = np.sum(q * np.log(q / p), axis=-1)
  np.testing.assert_allclose(
    loss(logits, x), 4 * np.sum(each[:3]) / 3, rtol=1e-5
  )
  student, teacher = jax.grad(loss, (0, 1))(logits, x)
  assert student.any() and not teacher.any()


def test_the_weight_rises_behind_the_warm_up():
  made = toys.term(weight=3.0, warmup=2, ramp=4)
  found = [float(made.weigh(epoch)) for epoch in range(8)]
  expected = [3 * np.exp(-5 * (1 - n / 4) ** 2) for n in (0, 0, 0, 1, 2, 3)]
  np.testing.assert_allclose(found, [*expected, 3, 3], rtol=1e-5)
  assert toys.term(weight=3.0).weigh(0) == 3.0

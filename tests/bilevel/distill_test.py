"""The memory against a Python dict of lists, the metrics against NumPy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.bilevel import distill


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def visits(rng, examples, batch):
  """Batches of distinct indices, with gaps between them and padded rows."""
  for _ in range(25):
    index = rng.permutation(examples)[:batch]
    index[rng.random(batch) < 0.2] = examples
    yield index, softmax(rng.standard_normal((batch, 3))).astype(np.float32)


@pytest.mark.parametrize('teachers', [1, 2, 3])
def test_window_equals_a_dict_of_lists(teachers):
  memory, rng = distill.window(teachers), np.random.default_rng(teachers)
  state, past = memory.init(10, 3), {n: [] for n in range(10)}
  read, push = jax.jit(memory.read), jax.jit(memory.push)
  for index, probs in visits(rng, 10, 4):
    teacher, known = read(state, index)
    for row, n in enumerate(index):
      said = past.get(n, [])[-teachers:]
      assert bool(known[row]) == bool(said)
      if said:
        np.testing.assert_allclose(teacher[row], np.mean(said, 0), rtol=1e-6)
    state = push(state, index, probs)
    for n, p in zip(index, probs, strict=True):
      if n < 10:
        past[n].append(p)
  assert max(map(len, past.values())) > teachers  # it did wrap around
  np.testing.assert_array_equal(state.count, [len(past[n]) for n in range(10)])


def test_average_equals_its_recursion():
  memory, rng = distill.average(0.7), np.random.default_rng(0)
  state, mean = memory.init(10, 3), {}
  for index, probs in visits(rng, 10, 4):
    teacher, known = memory.read(state, index)
    for row, n in enumerate(index):
      assert bool(known[row]) == (n in mean)
      if n in mean:
        np.testing.assert_allclose(teacher[row], mean[n], rtol=1e-5)
    state = memory.push(state, index, probs)
    for n, p in zip(index, probs, strict=True):
      if n < 10:
        mean[n] = 0.7 * mean[n] + 0.3 * p if n in mean else p


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


def term(**change):
  fields = {'weight': 1.0, 'teachers': 2, 'warmup': 3, 'metric': 'kl'}
  fields |= {'temperature': 2.0, 'vote': 'mean', 'decay': 0.5}
  return distill.make(**{**fields, **change})


class Batch(NamedTuple):
  index: jax.Array
  present: jax.Array


def test_loss_by_hand_with_unknown_and_padded_rows():
  made, rng = term(), np.random.default_rng(0)
  logits, old = rng.standard_normal((2, 4, 3)).astype(np.float32)
  index = jnp.array([0, 2, 4, 5])  # 4: never seen; 5: padding, of 5 examples
  state = made.memory.init(5, 3)
  state = made.memory.push(state, index[:2], made.soften(old[:2]))
  batch = Batch(index, index < 5)
  loss = made.loss(state, batch, logits, epoch=3)
  q, p = softmax(old[:2] / 2), softmax(logits[:2] / 2)
  expected = 4 * np.sum(q * np.log(q / p)) / 3  # T^2, three rows are examples
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert float(made.loss(state, batch, logits, epoch=2)) == 0


def test_a_weight_of_zero_remembers_nothing():
  made = term(weight=0.0)
  state = made.memory.init(5, 3)
  assert jax.tree.leaves(state) == []
  index, logits = jnp.array([0]), jnp.ones((1, 3))
  assert made.memory.push(state, index, logits) == state
  assert float(made.loss(state, Batch(index, index == 0), logits, epoch=9)) == 0

"""SAF's term and its teacher of so many epochs ago against AngusDujw/SAF.

Their smoothed labels, the term's last epoch and MESA are not ours. Where an
example was missed, their teacher is older than asked for, or says nothing;
ours is the record of so many visits ago, or unknown.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.data import split
from sdnas_jax.steps import totals
from tests import toys
from tests.golden import filling

GOLDEN = filling.load('saf')


def batch(index, labels):
  """Without images."""
  present = jnp.ones(len(index), bool)
  return split.Batch(None, jnp.asarray(labels), jnp.asarray(index), present)


def empty(term, examples, classes):
  """A memory, in float64."""
  memory = term.teacher.init(examples, classes, None)
  return memory._replace(probs=memory.probs.astype(jnp.float64))


@pytest.mark.parametrize('n', range(len(GOLDEN['terms/temperature'])))
def test_the_term(n):
  logits, stored, labels = (
    jnp.asarray(GOLDEN[f'terms/{x}'])
    for x in ('student_logits', 'stored_logits', 'labels')
  )
  term = toys.term(
    teacher='lag', teachers=1, temperature=GOLDEN['terms/temperature'][n]
  )
  own = batch(jnp.arange(len(labels)), labels)
  memory = term.teacher.init(*logits.shape, None)
  # The memory is of float32; what is compared here is not.
  memory = jax.tree.map(
    lambda x: x.astype(jnp.float64), memory._replace(count=memory.count)
  )
  memory = memory._replace(count=memory.count.astype(jnp.int32))
  memory = term.teacher.push(memory, own.index, term.soften(stored), None)
  weight = GOLDEN['terms/lambda']

  def loss(logits):
    part = weight * term.loss(memory, own, logits, 0, None)
    return totals.cross_entropy(logits, own) + part, part

  (total, part), grads = jax.value_and_grad(loss, has_aux=True)(logits)
  (plain,) = np.flatnonzero(GOLDEN['terms/smoothing'] == 0)
  for smoothing in range(len(GOLDEN['terms/smoothing'])):
    told = GOLDEN['terms/kl_part'][smoothing, n]
    np.testing.assert_allclose(part, told, rtol=1e-9)
  np.testing.assert_allclose(total, GOLDEN['terms/total'][plain, n], rtol=1e-9)
  np.testing.assert_allclose(
    grads, GOLDEN['terms/grad_student'][plain, n], rtol=1e-9, atol=1e-12
  )


@pytest.mark.parametrize('lag', [2, 3])
def test_the_teacher(lag):
  run = {
    name: GOLDEN[f'run/minus{lag}/{name}']
    for name in ('logits', 'teacher', 'age')
  }
  start, temperature = (
    GOLDEN[f'run/{name}'] for name in ('kl_start_epoch', 'temperature')
  )
  term = toys.term(
    teacher='lag', teachers=lag, temperature=temperature, warmup=int(start) + 1
  )
  examples, classes = len(GOLDEN['run/x']), run['logits'].shape[-1]
  memory = empty(term, examples, classes)
  visits, exact, other = [[] for _ in range(examples)], 0, 0
  for e, steps in enumerate(GOLDEN['run/index']):
    for s, index in enumerate(steps):
      logits = jnp.asarray(run['logits'][e, s])
      own = batch(index, GOLDEN['run/y'][index])
      found, known = term.teacher.read(memory, own.index, None)
      on = term.loss(memory, own, logits, e, None) != 0
      assert on == (e > start)
      for row, example in enumerate(index):
        seen = visits[example]
        assert known[row] == (len(seen) >= lag)
        if not known[row]:
          continue
        when, expected = seen[-lag]
        np.testing.assert_allclose(found[row], expected, rtol=1e-9)
        theirs = term.soften(jnp.asarray(run['teacher'][e, s, row]))
        if when == e - lag:
          assert run['age'][e, s, row] == lag
          np.testing.assert_allclose(found[row], theirs, rtol=1e-9)
          exact += 1
        elif run['age'][e, s, row] != e - when:
          assert np.abs(found[row] - theirs).max() > 1e-4
          other += 1
      probs = term.soften(logits)
      memory = term.teacher.push(memory, own.index, probs, None)
      for row, example in enumerate(index):
        visits[example].append((e, np.asarray(probs[row])))
  assert exact and other

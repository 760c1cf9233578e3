"""SAF's and MESA's terms, teachers and runs against AngusDujw/SAF.

Where an example was missed, their teacher is older than asked for, or says
nothing, which counts as a uniform one; ours is the record of so many visits
ago, or unknown. So whole runs of SAF are given what their store said. Smoothed
labels and a last epoch of the term are not ours: the runs here have the
cross-entropy that networks are trained with, and end the term by its weight.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.bilevel import teachers
from sdnas_jax.data import split
from sdnas_jax.steps import totals
from tests import toys
from tests.golden import filling
from tests.golden import small

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
  for smoothing, amount in enumerate(GOLDEN['terms/smoothing']):
    value, slope = jax.value_and_grad(totals.cross_entropy)(
      logits, own, float(amount)
    )
    np.testing.assert_allclose(value, GOLDEN['terms/ce'][smoothing], rtol=1e-9)
    np.testing.assert_allclose(
      slope, GOLDEN['terms/grad_ce'][smoothing], rtol=1e-9, atol=1e-12
    )
    both = GOLDEN['terms/total'][smoothing, n]
    np.testing.assert_allclose(value + part, both, rtol=1e-9)
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


def test_a_slot_that_was_never_written():
  """Theirs teaches that all classes are alike, ours nothing."""
  logits, labels = (
    jnp.asarray(GOLDEN[f'terms/{x}']) for x in ('student_logits', 'labels')
  )
  (name,) = [name for name in GOLDEN if name.startswith('terms/total_unwritt')]
  temperature, smoothing = (
    float(x.strip('T')) for x in name.split('slot_')[1].split('_smoothing')
  )
  term = toys.term(teacher='lag', teachers=1, temperature=temperature)
  own = batch(jnp.arange(len(labels)), labels)
  memory = empty(term, *logits.shape)
  entropy = totals.cross_entropy(logits, own, smoothing)
  assert term.loss(memory, own, logits, 0, None) == 0
  flat = jnp.zeros_like(logits)
  memory = term.teacher.push(memory, own.index, term.soften(flat), None)
  found = GOLDEN['terms/lambda'] * term.loss(memory, own, logits, 0, None)
  np.testing.assert_allclose(entropy + found, GOLDEN[name], rtol=1e-9)


smoothed = functools.partial(
  totals.cross_entropy, smoothing=float(GOLDEN['terms/smoothing'].max())
)
SGD = {'lr': 0.5, 'lr_min': 0.5, 'momentum': 0.9, 'decay': 1e-4}


def close(found, told):
  np.testing.assert_allclose(found, told, rtol=1e-9, atol=1e-10)


def taught(epoch, weight):
  """The page's epochs of the term."""
  within = GOLDEN['run/kl_start_epoch'] < epoch < GOLDEN['run/kl_end_epoch']
  return float(weight) if within else 0.0


def batches(epoch):
  """Of an epoch's steps, the examples and the batch."""
  for step, index in enumerate(GOLDEN['run/index'][epoch]):
    x = GOLDEN['run/x'][index] + GOLDEN['run/noise'][epoch, step]
    yield step, small.batch(x, GOLDEN['run/y'][index], index)


@pytest.mark.parametrize('lag', [2, 3])
def test_a_run(lag):
  """All of a search's steps, by what their store said in each."""
  name, temperature = f'run/minus{lag}', float(GOLDEN['run/temperature'])
  term = toys.term(temperature=temperature)
  soften, store = (
    term.soften,
    teachers.Teacher(
      init=lambda examples, classes, student: (),
      read=lambda memory, index, see: (memory, None),
      push=lambda memory, index, probs, student: memory,
    ),
  )
  term = dataclasses.replace(term, teacher=store)
  epochs = len(GOLDEN['run/index'])
  parts = small.setup('', epochs, term)
  state = small.state(parts, GOLDEN['run/W0'], len(GOLDEN['run/x']), **SGD)
  for e in range(epochs):
    term = dataclasses.replace(term, weight=taught(e, GOLDEN['run/lambda']))
    parts = dataclasses.replace(parts, distill=term)
    for s, rows in batches(e):
      said = soften(jnp.asarray(GOLDEN[f'{name}/teacher'][e, s]))
      state = state._replace(memory=said)
      state, loss, found = small.step(state, e, rows, parts, smoothed)
      close(loss + term.weight * found, GOLDEN[f'{name}/loss'][e, s])
      close(state.params['weights']['kernel'].T, GOLDEN[f'{name}/W'][e, s])


MESA = [name for name in GOLDEN if name.startswith('mesa/decay')]
MESA = sorted({name.split('/')[1] for name in MESA})


@pytest.mark.parametrize('name', MESA)
def test_mesa(name):
  """All of a search's steps, and what the teacher says in each."""
  told = {
    key: GOLDEN[f'mesa/{name}/{key}']
    for key in (
      *('loss', 'W', 'mean', 'var', 'ema_W', 'ema_scale', 'ema_offset'),
      *('ema_mean', 'ema_var', 'student_logits', 'teacher_logits'),
    )
  }
  term = toys.term(
    teacher='mesa',
    decay=float(name.removeprefix('decay')),
    temperature=float(GOLDEN['mesa/temperature']),
  )
  epochs = GOLDEN['mesa/epochs']
  parts = small.setup('output', len(epochs), term)

  def see(w, stats, rows, running):
    return small.search.forward(parts.net, w, stats, rows, None, running)[0]

  state = small.state(parts, GOLDEN['run/W0'], len(GOLDEN['run/x']), **SGD)
  for n, e in enumerate(epochs):
    term = dataclasses.replace(term, weight=taught(e, GOLDEN['mesa/lambda']))
    parts = dataclasses.replace(parts, distill=term)
    for s, rows in batches(e):
      where = n, s
      now = state.params['weights'], state.stats
      close(see(*now, rows, False), told['student_logits'][where])
      logits = functools.partial(see, rows=rows, running=True)
      found, known = term.teacher.read(state.memory, rows.index, logits)
      assert known is None
      close(found, told['teacher_logits'][where])
      # Neither by the batch's own statistics, nor the student's.
      for other in (
        see(*state.memory, rows, False),
        logits(state.memory.weights, state.stats),
      ):
        assert (n, s) == (0, 0) or np.abs(found - other).max() > 1e-6
      state, loss, found = small.step(state, e, rows, parts, smoothed)
      close(loss + term.weight * found, told['loss'][where])
      average = state.memory
      close(state.params['weights']['kernel'].T, told['W'][where])
      close(average.weights['kernel'].T, told['ema_W'][where])
      close(average.weights['scale'], told['ema_scale'][where])
      close(average.weights['bias'], told['ema_offset'][where])
      for moment in ('mean', 'var'):
        close(state.stats[moment], told[moment][where])
        close(average.stats[moment], told[f'ema_{moment}'][where])

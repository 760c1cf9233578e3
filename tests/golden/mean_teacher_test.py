"""Mean Teacher's average, weight, losses and runs against CuriousAI's code.

Ours starts from a copy; here it is given their start. What is not ours: two
heads, whose second is to follow the teacher's first, and with them the distance
between logits; images without a label, for which the cross-entropy is told to
pass them by; the teacher's own running statistics, which nothing of a search
looks at.
"""

import dataclasses
import re

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import teachers
from sdnas_jax.steps import totals
from tests import toys
from tests.golden import filling
from tests.golden import small

GOLDEN = filling.load('mean_teacher')
RAMPS = [name for name in GOLDEN if name.startswith('weight/max')]
DECAY = float(GOLDEN['run/ema_decay'])
TAGS = {'two_heads_mse': 'squared', 'one_head_kl': 'kl'}
MOST = {'two_heads_mse': 100.0, 'one_head_kl': 10.0}
RAMP = 5
cross_entropy = totals.cross_entropy


def close(found, told):
  np.testing.assert_allclose(found, told, rtol=1e-9, atol=1e-12)


def near(found, told):
  """After steps, which add their roundings up."""
  np.testing.assert_allclose(found, told, rtol=1e-9, atol=1e-10)


def term(**more):
  return toys.term(teacher='mean_teacher', **more)


def average(teacher, start, weights):
  """The memory after each of the weights [steps, ...] in turn."""

  def push(memory, w):
    memory = teacher.push(memory, None, None, teachers.Student(w, ()))
    return memory, memory.weights

  memory = teacher.init(0, 0, teachers.Student(jnp.asarray(start), ()))
  return lax.scan(push, memory, jnp.asarray(weights))[1]


@pytest.mark.parametrize('n', range(len(GOLDEN['ema/decay_max'])))
def test_the_decay(n):
  teacher = term(decay=float(GOLDEN['ema/decay_max'][n])).teacher
  told = GOLDEN['ema/decay'][n]
  # From 1, weights of 0 leave the product of all decays.
  found = average(teacher, 1.0, np.zeros(len(told)))
  close(found, np.cumprod(told))


def test_the_average():
  (name,) = [name for name in GOLDEN if name.startswith('ema/teacher_decay')]
  decay = float(name.rsplit('decay')[1])
  teacher = term(decay=decay).teacher
  given = GOLDEN['ema/teacher0'], GOLDEN['ema/student']
  close(average(teacher, *given), GOLDEN[name])
  # Neither by one decay from the start on.
  fixed = toys.term(teacher='mesa', decay=decay).teacher
  memory = fixed.init(0, 0, teachers.Student(given[0], ()))
  memory = fixed.push(memory, None, None, teachers.Student(given[1][0], ()))
  assert np.abs(memory.weights - GOLDEN[name][0]).max() > 1e-6


@pytest.mark.parametrize('name', RAMPS)
def test_the_weight(name):
  most, ramp = map(int, re.findall(r'\d+', name))
  own = term(weight=float(most), ramp=ramp)
  epochs = GOLDEN['weight/epoch']
  close([own.weigh(e) for e in epochs], GOLDEN[name])
  # Behind a warm-up it begins anew.
  later = dataclasses.replace(own, warmup=7)
  close([later.weigh(e + 7) for e in epochs], GOLDEN[name])


def rows(x, labels, again=None):
  return small.batch(x, labels, np.arange(len(labels)), again)


def labelled(logits, batch):
  """Of the labelled rows, by all rows."""
  known = batch.label >= 0
  own = batch._replace(present=known, label=jnp.maximum(batch.label, 0))
  return cross_entropy(logits, own) * jnp.mean(known)


@pytest.mark.parametrize('metric, name', [('squared', 'mse'), ('kl', 'kl')])
def test_the_losses(metric, name):
  student, other, labels = (
    jnp.asarray(GOLDEN[f'loss/{x}'])
    for x in ('student_logits', 'teacher_logits', 'labels')
  )
  own, batch = term(metric=metric), rows(student, labels)
  memory = own.teacher.init(0, 0, teachers.Student(other, ()))

  def loss(logits):
    return own.loss(memory, batch, logits, 0, lambda weights: weights)

  value, grads = jax.value_and_grad(loss)(student)
  close(value, GOLDEN[f'loss/{name}'])
  close(grads, GOLDEN[f'loss/grad_{name}'])
  value, grads = jax.value_and_grad(labelled)(student, batch)
  close(value, GOLDEN['loss/class'])
  close(grads, GOLDEN['loss/grad_class'])


def test_the_learning_rate():
  (name,) = [name for name in GOLDEN if name.startswith('lr/cifar')]
  lr, epochs = map(float, re.findall(r'[\d.]+', name))
  steps = GOLDEN['lr/steps_per_epoch']
  at = GOLDEN['lr/epoch'] + GOLDEN['lr/step'] / steps
  found = [optimizers.cosine(lr, 0.0, t, epochs) for t in at]
  close(found, GOLDEN[name])


def told(tag, n, who, name):
  return GOLDEN[f'run/{tag}/{who}_{name}'][n]


def params(tag, n, who, head='W1'):
  """Their weights after a step, in our layout."""
  names = {'kernel': head, 'scale': 'scale', 'bias': 'offset'}
  return {k: jnp.asarray(told(tag, n, who, v).T) for k, v in names.items()}


@pytest.mark.parametrize('tag', TAGS)
def test_the_teacher_of_a_run(tag):
  """Its average, and the term that it makes, by their students."""
  own = term(
    metric=TAGS[tag], weight=MOST[tag], ramp=RAMP, decay=DECAY, warmup=0
  )
  heads = ('W1', 'W2')
  first = {
    head: small.variables(GOLDEN[f'run/teacher_{head}_0'], 'input')['params']
    for head in heads
  }
  memory = own.teacher.init(0, 0, teachers.Student(first, ()))
  start = small.variables(GOLDEN['run/student_W1_0'], 'input')
  student = {
    head: small.variables(GOLDEN[f'run/student_{head}_0'], 'input')['params']
    for head in heads
  }
  net, stats = small.Net('input'), start['batch_stats']

  def see(weights, x):
    given = {'params': weights, 'batch_stats': stats}
    return net.apply(given, x, None, True, None, mutable=['batch_stats'])[0]

  for n, epoch in enumerate(GOLDEN['run/epoch']):
    x, other = GOLDEN['run/x'][n], GOLDEN['run/x_teacher'][n]
    follows = 'W2' if tag.startswith('two') else 'W1'
    found = own.loss(
      memory,
      rows(x, GOLDEN['run/y'][n]),
      see(student[follows], x),
      epoch,
      lambda weights: see(weights['W1'], other),  # noqa: B023
    )
    near(own.weigh(epoch), GOLDEN[f'run/{tag}/cons_weight'][n])
    near(own.weigh(epoch) * found, GOLDEN[f'run/{tag}/cons_loss'][n])
    student = {head: params(tag, n, 'student', head) for head in heads}
    given = None, None, teachers.Student(student, ())
    memory = own.teacher.push(memory, *given)
    for head in heads:
      expected = params(tag, n, 'teacher', head)
      jax.tree.map(near, memory.weights[head], expected)


def test_a_run():
  """All of a search's steps with one head."""
  tag = 'one_head_kl'
  (name,) = [name for name in GOLDEN if name.startswith('lr/cifar')]
  lr, epochs = map(float, re.findall(r'[\d.]+', name))
  own = term(metric='kl', weight=MOST[tag], ramp=RAMP, decay=DECAY)
  parts = small.setup('input', int(epochs), own, nesterov=True)
  rates = {'lr': lr, 'lr_min': 0.0, 'momentum': 0.9, 'decay': 2e-4}
  state = small.state(parts, GOLDEN['run/student_W1_0'], 8, **rates)
  start = small.variables(GOLDEN['run/teacher_W1_0'], 'input')['params']
  state = state._replace(memory=state.memory._replace(weights=start))
  for n, epoch in enumerate(GOLDEN['run/epoch']):
    x, other = (jnp.asarray(GOLDEN[f'run/{x}'][n]) for x in ('x', 'x_teacher'))
    batch = rows(x, GOLDEN['run/y'][n], other)
    state, loss, found = small.step(state, epoch, batch, parts, labelled)
    near(loss, GOLDEN[f'run/{tag}/class_loss'][n])
    cons = parts.distill.weigh(epoch) * found
    near(cons, GOLDEN[f'run/{tag}/cons_loss'][n])
    near(loss + cons, GOLDEN[f'run/{tag}/loss'][n])
    near(small.search.rate(state, parts), GOLDEN[f'run/{tag}/lr'][n])
    jax.tree.map(near, state.params['weights'], params(tag, n, 'student'))
    jax.tree.map(near, state.memory.weights, params(tag, n, 'teacher'))
    for moment in ('mean', 'var'):
      near(state.stats[moment], told(tag, n, 'student', moment))

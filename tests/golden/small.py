"""Searches of the pages' small networks: a matrix, and a normalisation."""

import dataclasses
from unittest import mock

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sdnas_jax.data import split
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests import toys
from tests.golden import filling
from tests.golden import given

RATE = 0.1  # of running statistics


class Net(nn.Module):
  """Normalises [batch, features], or what the matrix gives, or nothing.

  As in PyTorch, a running variance is of the unbiased kind.
  """

  normalises: str
  space: spaces.Space = spaces.Space('none', ('none',))

  @nn.compact
  def __call__(self, x, mix, train, present):
    kernel = self.variable('params', 'kernel', None).value
    if self.normalises == 'input':
      return self.norm(x, train) @ kernel
    x = x @ kernel
    return self.norm(x, train) if self.normalises == 'output' else x

  def norm(self, x, train):
    scale, bias = (
      self.variable('params', name, None).value for name in ('scale', 'bias')
    )
    running = [
      self.variable('batch_stats', name, None) for name in ('mean', 'var')
    ]
    mean, var = x.mean(axis=0), x.var(axis=0)
    if train:
      new = mean, var * len(x) / (len(x) - 1)
      for old, now in zip(running, new, strict=True):
        old.value = (1 - RATE) * old.value + RATE * now
    else:
      mean, var = (own.value for own in running)
    mean, var, scale, bias = (own[None] for own in (mean, var, scale, bias))
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def variables(kernel, normalises):
  """The first ones, of a matrix [classes, features]."""
  size = {'input': kernel.shape[1], 'output': kernel.shape[0]}.get(normalises)
  params, stats = {'kernel': jnp.asarray(kernel.T)}, {}
  if size:
    params |= {'scale': jnp.ones(size), 'bias': jnp.zeros(size)}
    stats = {'mean': jnp.zeros(size), 'var': jnp.ones(size)}
  return {'params': params, 'batch_stats': stats}


def setup(normalises, epochs, term, nesterov=False):
  """A search of such a network, whose alphas rest."""
  return dataclasses.replace(
    toys.setup(),
    net=Net(normalises),
    distill=term,
    nesterov=nesterov,
    epochs=epochs,
    alpha_warmup=epochs,
    steps=2,
  )


def state(parts, kernel, examples, **rates):
  """The first, at rates of the weights."""
  own = {f'weights.{name}': value for name, value in rates.items()}
  own = toys.RATES | {'weights.clip': np.inf} | own
  arch = given.arch({'normal': jnp.zeros((1, 2))})
  first = variables(kernel, parts.net.normalises)
  return search.init(parts, first, arch, own, examples, len(kernel))


def batch(x, labels, index, again=None):
  """Of rows x [batch, features]."""
  present = jnp.ones(len(labels), bool)
  given = (x, labels, index)
  return split.Batch(*map(jnp.asarray, given), present, again)


def step(state, epoch, rows, parts, entropy=totals.cross_entropy):
  """A search's step in an epoch; its loss, and the distillation's term.

  Not compiled, so that the cross-entropy may be another.
  """
  fresh = {'epoch': jnp.asarray(epoch, jnp.int32), 'sums': totals.zero()}
  with mock.patch.object(totals, 'cross_entropy', entropy):
    given = state._replace(**fresh), filling.KEY, rows, rows, parts
    state = search.step(*given)
  sums, count = state.sums, len(rows.label)
  return state, sums.loss / count, sums.distill / count

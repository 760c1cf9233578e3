"""SAM's steps against davda54/sam and others.

Adaptive SAM and the gradient's norm are not rules of ours.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from tests.golden import filling

GOLDEN = filling.load('sharpness_aware')
HYPER = json.loads(str(GOLDEN['hyper_json']))
SAM = [
  name
  for name in json.loads(str(GOLDEN['variants_json']))
  if name.startswith(('sam_davda54_rho', 'sam_samsung_rho'))
]


def loss(x):
  """The page's, of the weights; and what it sees them to be."""
  a, b, c = (GOLDEN[f'problem_{name}'] for name in 'Abc')
  flat = jnp.concatenate([x['weight'].ravel(), x['bias']])
  value = flat @ a @ flat / 2 + jnp.vdot(b, flat) + jnp.vdot(c, flat**4) / 4
  return value, x


def steps(rule, **more):
  """The weights before and after each step, and what was seen."""
  x = {k: jnp.asarray(GOLDEN[f'problem_{k}0']) for k in ('weight', 'bias')}
  tx = optimizers.sgd(
    HYPER['lr'], HYPER['momentum'], HYPER['weight_decay'], np.inf
  )
  opt = tx.init(x)
  for _ in range(HYPER['steps']):
    grads, seen = rule(loss, x, **more)
    updates, opt = tx.update(grads, opt, x)
    before, x = x, optax.apply_updates(x, updates)
    yield before, x, seen


def distance(x, name, t):
  """From the release's weights after a step."""
  told = {k: GOLDEN[f'{name}__{k}_after_step'][t] for k in x}
  return max(
    jax.tree.leaves(jax.tree.map(lambda a, b: abs(a - b).max(), x, told))
  )


@pytest.mark.parametrize('name', SAM)
def test_sam(name):
  rho = float(name.split('rho')[1])
  for t, (before, x, seen) in enumerate(steps(rules.sam, rho=rho)):
    assert distance(x, name, t) < 1e-10
    jax.tree.map(np.testing.assert_array_equal, seen, before)
  # There the decay enters the loss, and so the perturbation.
  assert distance(x, 'sam_google_rho0.05', t) > 1e-8


def test_plain():
  for t, (_, x, _) in enumerate(steps(rules.plain)):
    assert distance(x, 'sgd', t) < 1e-10
  assert min(distance(x, name, t) for name in SAM) > 1e-8

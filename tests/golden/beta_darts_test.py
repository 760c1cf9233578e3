"""beta-DARTS's penalty and alpha steps against Sunshine-Ye/Beta-DARTS."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from tests.golden import filling
from tests.golden import given
from tests.golden import tabular

GOLDEN = filling.load('beta_darts')
METHOD = methods.make('beta_darts', {})
EPOCHS = len(GOLDEN['lambda_released_epoch0_99'])  # a constant of the release
TABLES = [
  name.removeprefix('penalty_').removesuffix('_alpha')
  for name in GOLDEN
  if name.startswith('penalty_') and name.endswith('_alpha')
]


def penalty(alphas, epoch, epochs=EPOCHS):
  """Of tables by kind."""
  return METHOD.penalty(given.arch(alphas), None, given.now(epoch, epochs))


@pytest.mark.parametrize('table', TABLES)
def test_the_penalty(table):
  alphas = jnp.asarray(GOLDEN[f'penalty_{table}_alpha'])
  value, told = (GOLDEN[f'penalty_{table}_{x}'] for x in ('value', 'grad'))
  for e, weight in enumerate(GOLDEN['lambda_released_epoch0_99']):
    found = penalty({'cell': alphas}, e)
    np.testing.assert_allclose(found, weight * value, rtol=1e-12)
  grads = jax.grad(lambda a: penalty({'cell': a}, e))(alphas)
  np.testing.assert_allclose(grads, weight * told, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('space', ['darts8', 'darts7'])
def test_two_tables_have_one_mean(space):
  alphas = {
    kind: GOLDEN[f'penalty_{space}_{kind}_alpha']
    for kind in ('normal', 'reduce')
  }
  weight = GOLDEN['lambda_released_epoch0_99'][-1]
  value = GOLDEN[f'penalty_{space}_mean_over_both_tables_NOT_RELEASED']
  found = penalty(alphas, EPOCHS - 1)
  np.testing.assert_allclose(found, weight * value, rtol=1e-12)


def test_the_weight_rises_with_the_search():
  """Theirs knows 100 epochs only; ours goes by the search's."""
  alphas = {'cell': GOLDEN['steps_alpha_init']}
  for epochs in (EPOCHS // 2, 2 * EPOCHS):
    found = penalty(alphas, epochs // 2, epochs)
    np.testing.assert_allclose(found, penalty(alphas, EPOCHS // 2), rtol=1e-12)


def test_five_steps():
  alphas, c, d = (
    jnp.asarray(GOLDEN[f'steps_{name}']) for name in ('alpha_init', 'c', 'd')
  )
  tx = optimizers.adam(
    filling.ALPHAS_RATE, filling.BETA, 0.999, filling.ALPHAS_DECAY
  )
  opt = tx.init(alphas)

  def loss(alphas, epoch):
    arch = given.arch({'cell': alphas})
    p = METHOD.relax(arch, None)['cell']
    return jnp.sum(c * p + d * p**2 / 2) + penalty(arch.alphas, epoch)

  for t, epoch in enumerate(GOLDEN['steps_epochs']):
    grads = jax.grad(loss)(alphas, epoch)
    told = GOLDEN['steps_grad_without_wd'][t]
    np.testing.assert_allclose(grads, told, rtol=1e-10, atol=1e-12)
    updates, opt = tx.update(grads, opt, alphas)
    alphas = optax.apply_updates(alphas, updates)
    told = GOLDEN['steps_alpha_after'][t]
    np.testing.assert_allclose(alphas, told, rtol=1e-10, atol=1e-12)


def test_a_step_of_a_network():
  case = tabular.Case(GOLDEN)
  epoch = int(case.told['epoch'])

  def run(state, train, valid, parts):
    parts = dataclasses.replace(parts, epochs=EPOCHS, steps=1)
    begun = state._replace(step=jnp.asarray(epoch), epoch=jnp.asarray(epoch))
    after = filling.step(begun, filling.KEY, train, valid, parts)
    told = case.told['outer_grad_with_penalty_without_wd']
    found = filling.seen(begun, after)['cell']
    np.testing.assert_allclose(found, told, rtol=1e-7, atol=1e-10)
    return after, METHOD.relax(after.arch, None)

  used = case.check(METHOD, run)
  np.testing.assert_allclose(used['cell'], case.told['weights_used'], rtol=1e-9)

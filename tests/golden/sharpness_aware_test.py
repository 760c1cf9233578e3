"""SAM, adaptive SAM and the gradient's norm against four released codes.

A variant is what its name says. The released rules that are not ours are told
by ours: adaptive SAM that looks at no name, by weights of other names; decay
within the loss, by such a loss; the unit gradient that the released penalty
mixes in, by another balance and another length, which the gradient decides.
"""

import json
import re

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
DECAY = HYPER['weight_decay']
CLIP = HYPER['gradient_clipping_in_google_and_gnp']
NAMES = json.loads(str(GOLDEN['variants_json']))
CLOSE, FAR = 1e-10, 1e-8
# As a release names its weights, and where nothing is known for a bias.
NAMED = {'weight': 'weight', 'bias': 'bias'}
UNNAMED = {'weight': 'weight', 'bias': 'other'}


def number(name, letters):
  """What stands behind them in a variant's name."""
  return float(re.search(rf'_{letters}([\d.]+)', name)[1])


def plain(names):
  """The page's loss, of the weights; and what it sees them to be."""

  def loss(x):
    a, b, c = (GOLDEN[f'problem_{name}'] for name in 'Abc')
    flat = jnp.concatenate([x[own].ravel() for own in names.values()])
    value = flat @ a @ flat / 2 + jnp.vdot(b, flat) + jnp.vdot(c, flat**4) / 4
    return value, x

  return loss


def decayed(names):
  """The same with the decay inside."""
  own = plain(names)

  def loss(x):
    value, seen = own(x)
    size = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(x))
    return value + DECAY / 2 * size, seen

  return loss


def steps(rule, loss=plain, names=NAMED, clip=np.inf, nesterov=False):
  """The weights before and after each step, where the loss was asked."""
  points, own = [], loss(names)
  decay = DECAY if loss is plain else 0.0
  x = {own: jnp.asarray(GOLDEN[f'problem_{k}0']) for k, own in names.items()}
  given = HYPER['lr'], HYPER['momentum'], decay, clip, nesterov
  tx = optimizers.sgd(*given)
  opt = tx.init(x)

  def watched(x):
    jax.debug.callback(lambda x: points.append(x), x)
    return own(x)

  for _ in range(HYPER['steps']):
    points.clear()
    grads, seen = rule(watched, x)
    jax.effects_barrier()
    updates, opt = tx.update(grads, opt, x)
    before, x = x, optax.apply_updates(x, updates)
    jax.tree.map(np.testing.assert_array_equal, seen, before)
    yield x, list(points)


def distance(x, name, t, when='after_step', names=NAMED):
  """From the release's weights."""
  told = {own: GOLDEN[f'{name}__{k}_{when}'][t] for k, own in names.items()}
  return max(
    jax.tree.leaves(jax.tree.map(lambda a, b: abs(a - b).max(), x, told))
  )


def check(name, rule, names=NAMED, **how):
  """Compares all steps of a variant, and what it climbed to, if that is known.

  Returns:
    The weights after the last step.
  """
  for t, (x, points) in enumerate(steps(rule, names=names, **how)):
    assert distance(x, name, t, names=names) < CLOSE
    if f'{name}__weight_perturbed' in GOLDEN:
      up = points[1]
      assert distance(up, name, t, 'perturbed', names) < CLOSE
  return x


def variants(*beginnings):
  return [name for name in NAMES if name.startswith(beginnings)]


def bound(rule, **numbers):
  """As a search has a rule."""
  return rules.bound(rules.WEIGHTS[rule], numbers)


def google(name):
  """What else those have whose loss holds the decay."""
  clip = 1.0 if name.endswith('clip1') else CLIP
  return {'loss': decayed, 'clip': clip, 'nesterov': 'nesterov' in name}


PLAIN = variants('sam_davda54_rho', 'sam_samsung_rho')


@pytest.mark.parametrize('name', PLAIN)
def test_sam(name):
  x = check(name, bound('sam', rho=number(name, 'rho')))
  # There the decay enters the loss, and so the perturbation.
  last = HYPER['steps'] - 1
  assert all(distance(x, n, last) > FAR for n in variants('sam_google'))


@pytest.mark.parametrize('name', variants('sam_google'))
def test_sam_with_the_decay_in_the_loss(name):
  check(name, bound('sam', rho=number(name, 'rho')), **google(name))


@pytest.mark.parametrize('name', variants('asam_samsung'))
def test_asam(name):
  own = {'rho': number(name, 'rho'), 'eta': number(name, 'eta')}
  x, last = check(name, bound('asam', **own)), HYPER['steps'] - 1
  # Neither for other numbers, nor where biases are scaled, too.
  for other in ({'eta': own['eta'] + 0.1}, {'rho': 2 * own['rho']}):
    *_, (found, _) = steps(bound('asam', **own | other))
    assert distance(found, name, last) > FAR
  *_, (found, _) = steps(bound('asam', **own), names=UNNAMED)
  assert distance(found, name, last, names=UNNAMED) > FAR
  *_, (found, _) = steps(bound('sam', **own))
  assert not np.allclose(found['weight'], x['weight'], atol=FAR)


@pytest.mark.parametrize('name', variants('sam_davda54_adaptive'))
def test_asam_that_looks_at_no_name(name):
  own = {'rho': number(name, 'rho'), 'eta': 0.0}
  check(name, bound('asam', **own), names=UNNAMED)


@pytest.mark.parametrize(
  'name', [n for n in variants('gnp') if '_normalised' not in n]
)
def test_gradient_norm(name):
  rho = number(name, 'r')
  balance = number(name, 'alpha') if 'alpha' in name else 0.5
  rule = bound('gradient_norm', rho=rho, balance=balance)
  x, last = check(name, rule, **google(name)), HYPER['steps'] - 1
  told = {'sam': balance == 1 or not rho, 'plain': not rho}
  for other, same in told.items():
    *_, (found, _) = steps(bound(other, rho=rho), **google(name))
    assert (distance(found, name, last) < CLOSE) == same
  if rho and balance < 1:
    other = name.replace('un', '')
    assert distance(x, other, last) > FAR


@pytest.mark.parametrize(
  'name', [n for n in variants('gnp') if '_normalised' in n]
)
def test_the_unit_gradient_is_another_balance_and_length(name):
  rho, share = number(name, 'r'), number(name, 'alpha')

  def released(loss, x):
    size = optimizers.norm(bound('plain')(loss, x)[0])
    length = (1 - share) / size + share
    rule = bound('gradient_norm', rho=rho, balance=share / length)
    grads, seen = rule(loss, x)
    return jax.tree.map(lambda g: length * g, grads), seen

  check(name, released, **google(name))


def test_plain():
  x, last = check('sgd', bound('plain')), HYPER['steps'] - 1
  assert min(distance(x, name, last) for name in PLAIN) > FAR

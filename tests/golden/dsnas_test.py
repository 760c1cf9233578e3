"""DSNAS's samples, credit, fixing and steps against SNAS-Series.

Their FLOPs are no part of the method, so that `grad_alpha_with_flops` is met
with that term added; nor are rates that change within an epoch, so that the
schedules are met at the first iteration of epochs without a warm-up.
"""

import dataclasses
import functools
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.methods import fixing
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from tests import toys
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('dsnas')
SPACE, KIND = SPACES['darts'], 'normal'
TOLERANCE = {'rtol': 1e-9, 'atol': 1e-12}
close = functools.partial(np.testing.assert_allclose, **TOLERANCE)
PLAIN = methods.make('dsnas', {'clip': 0.0})
SMOOTHING = 0.1
CASES = range(len(GOLDEN['chain_index']))
EDGES = np.arange(GOLDEN['chain_index'].shape[1])


def one_hot(index, shape):
  return np.arange(shape[-1]) == index[:, None]


def noise(index):
  """Gumbel's numbers by which this is drawn."""
  shape = GOLDEN['chain_log_alpha'].shape
  return jnp.asarray(1e3 * one_hot(np.asarray(index), shape))


def draw(alphas, noises, method=PLAIN, own=None):
  """The mix of one draw for each kind."""
  arch = fixing.free(given.arch(alphas))
  arch = arch if own is None else arch._replace(own=own)
  fixed = iter(noises)
  with mock.patch.object(jax.random, 'gumbel', lambda *_: next(fixed)):
    return method.sample(filling.KEY, arch, given.now(0, 1), 'weights')


class Chain(nn.Module):
  """The page's: edges in a row, then a classifier."""

  space = SPACE

  @nn.compact
  def __call__(self, x, mix, train, present=None):
    self.variable('batch_stats', 'none', jnp.zeros, ())
    names = 'scale', 'shift', 'classifier'
    s, t, w = (self.variable('params', name, None).value for name in names)
    for z, scale, shift in zip(mix[KIND], s, t, strict=True):
      x = jnp.sum(z * scale) * jnp.tanh(x) + jnp.sum(z * shift)
    return x @ w.T


PARAMS = {
  'scale': GOLDEN['chain_op_scale'],
  'shift': GOLDEN['chain_op_shift'],
  'classifier': GOLDEN['chain_classifier'],
}
FIRST = jax.tree.map(
  np.array, {'params': PARAMS, 'batch_stats': {'none': np.zeros(())}}
)


def smoothed(x, y):
  """Copies of examples, of which plain cross-entropy is the smoothed one's."""
  classes = len(GOLDEN['chain_classifier'])
  share = SMOOTHING / classes
  copies = np.rint(((1 - SMOOTHING) * np.eye(classes)[y] + share) / share)
  copies = copies.astype(int)
  labels = [np.repeat(np.arange(classes), own) for own in copies]
  images = np.repeat(x, copies.sum(axis=1), axis=0)
  batch = filling.ready(np.zeros((1, 1, 1, 1)), np.concatenate(labels))
  return batch._replace(image=jnp.asarray(images))


def smoothed_loss(params, mix, batch):
  """And the logits."""
  variables = {**FIRST, 'params': params}
  logits = Chain().apply(variables, batch.image, mix, True)
  return search.totals.cross_entropy(logits, batch), logits


@pytest.mark.parametrize('n', CASES)
def test_a_draw_s_loss_and_gradients(n):
  index = GOLDEN['chain_index'][n]
  batch = smoothed(GOLDEN['chain_x'][n], GOLDEN['chain_y'][n])
  params = jax.tree.map(jnp.asarray, PARAMS)
  alphas = {KIND: jnp.asarray(GOLDEN['chain_log_alpha'])}

  def of_alphas(params, alphas):
    return smoothed_loss(params, draw(alphas, [noise(index)]), batch)

  value = jax.value_and_grad(of_alphas, (0, 1), has_aux=True)
  (loss, logits), (of_w, of_a) = value(params, alphas)
  mix = draw(alphas, [noise(index)])
  of_z, _ = jax.grad(smoothed_loss, 1, has_aux=True)(params, mix, batch)
  z, of_z = mix[KIND], of_z[KIND]
  np.testing.assert_array_equal(z, one_hot(index, z.shape))
  close(loss, GOLDEN['chain_loss'][n])
  examples = len(GOLDEN['chain_y'][n])
  rows = np.arange(examples) * (len(logits) // examples)
  close(np.asarray(logits)[rows], GOLDEN['chain_logits'][n])
  close(of_a[KIND], GOLDEN['chain_grad_alpha'][n])
  for name in PARAMS:
    close(of_w[name], GOLDEN[f'chain_grad_{name}'][n])
  close(np.sum(z * of_z, axis=-1), GOLDEN['chain_credit'][n])
  p = PLAIN.relax(given.arch({KIND: GOLDEN['chain_log_alpha']}), None)[KIND]
  close(np.log(np.asarray(p))[EDGES, index].sum(), GOLDEN['chain_sum_log_p'][n])
  # The control: the derivatives of all gates, as in a sum of all operations.
  wrong = np.sum(of_z, axis=-1)
  close(wrong, GOLDEN['chain_credit_all_gates_wrong'][n])
  apart = np.abs(wrong - GOLDEN['chain_credit'][n]).max()
  assert apart > 1e-3 * np.abs(wrong).max()
  flops = GOLDEN['chain_flops'][EDGES, index].sum()
  close(flops, GOLDEN['chain_flops_total'][n])
  told = GOLDEN['chain_grad_alpha_with_flops'][n]
  term = np.zeros(told.shape)
  if flops >= GOLDEN['chain_flops_threshold']:
    own = (GOLDEN['chain_flops'] * p)[EDGES, index][:, None]
    term = GOLDEN['chain_flops_coef'] * own * (z - p)
  close(of_a[KIND] + term, told)


def test_early_fixing():
  """Before each of some epochs; the alphas in between are the page's."""
  gap = float(GOLDEN['fix_threshold'])
  assert methods.options('dsnas')['gap'] == gap
  arch = fixing.free(given.arch({KIND: GOLDEN['fix_alpha_before'][0]}))
  for epoch, alphas in enumerate(GOLDEN['fix_alpha_before']):
    arch = arch._replace(alphas={KIND: alphas})
    past = given.past([{}] * epoch, len(GOLDEN['fix_alpha_before']))
    revision = PLAIN.revise(past, arch, None)
    told = GOLDEN['fix_op'][epoch]
    assert (revision is None) == (told < 0).all()
    arch = arch if revision is None else revision.arch
    np.testing.assert_array_equal(
      arch.alphas[KIND], GOLDEN['fix_alpha_after'][epoch]
    )
    np.testing.assert_array_equal(arch.own['fixed'][KIND], told)
    np.testing.assert_array_equal(told >= 0, GOLDEN['fix_mask'][epoch])
    # Asked again, as after a crash, it says the same.
    again = PLAIN.revise(past, arch, None)
    if again is not None:
      jax.tree.map(np.testing.assert_array_equal, again.arch, arch)


def test_what_is_fixed_is_not_drawn():
  alphas = {KIND: jnp.asarray(GOLDEN['chain_log_alpha'])}
  fixed = np.full(len(EDGES), -1, np.int32)
  fixed[GOLDEN['fixed_forward_edges']] = GOLDEN['fixed_forward_ops']
  own = {'fixed': {KIND: fixed}, 'rows': alphas}
  batch = smoothed(GOLDEN['chain_x'][0], GOLDEN['chain_y'][0])

  params = jax.tree.map(jnp.asarray, PARAMS)

  def loss(alphas):
    mix = draw(alphas, [noise(GOLDEN['chain_index'][0])], own=own)
    return smoothed_loss(params, mix, batch)[0], mix

  grads, mix = jax.grad(loss, has_aux=True)(alphas)
  z = GOLDEN['fixed_forward_Z']
  np.testing.assert_array_equal(mix[KIND], z)
  close(grads[KIND], GOLDEN['fixed_forward_grad_alpha'])
  of_z, _ = jax.grad(smoothed_loss, 1, has_aux=True)(params, mix, batch)
  close(np.sum(z * of_z[KIND], axis=-1), GOLDEN['fixed_forward_credit'])


def drawn(key, arch, now, group, index):
  """A step's draw."""
  with mock.patch.object(jax.random, 'gumbel', lambda *_: index):
    return PLAIN.sample(key, arch, now, group)


def test_six_steps():
  """Of both groups by one batch; what is not drawn decays and coasts."""
  parts = dataclasses.replace(toys.setup('dsnas', weight=0.0), net=Chain())
  arch = fixing.free(given.arch({KIND: GOLDEN['chain_log_alpha']}))
  lr = float(GOLDEN['loop_lr_w'])
  rates = toys.RATES | {
    **{'weights.lr': lr, 'weights.lr_min': lr, 'weights.clip': np.inf},
    'weights.momentum': GOLDEN['loop_momentum'],
    'weights.decay': GOLDEN['loop_wd'],
    'alphas.lr': GOLDEN['loop_lr_alpha'],
    'alphas.decay': 0.0,
  }
  arch = jax.tree.map(jnp.asarray, arch)
  first = jax.tree.map(jnp.asarray, FIRST)
  state = search.init(parts, first, arch, rates, 1, 1)
  for t, index in enumerate(GOLDEN['loop_index']):
    batch = smoothed(GOLDEN['loop_x'][t], GOLDEN['loop_y'][t])
    sample = functools.partial(drawn, index=noise(index))
    own = dataclasses.replace(parts.method, sample=sample)
    own = dataclasses.replace(parts, method=own)
    state = filling.step(state, filling.KEY, batch, batch, own)
    close(state.params['alphas'][KIND], GOLDEN['loop_log_alpha'][t])
    for name, w in state.params['weights'].items():
      close(w, GOLDEN[f'loop_{name}'][t])


def test_cells_of_a_kind_share_a_clipped_credit():
  """The layers' sum, with the clip that is the method's own."""
  kinds = 'normal', 'reduce'
  method = methods.make('dsnas', {})
  limit = float(GOLDEN['cell_credit_clamp'])
  assert methods.options('dsnas')['clip'] == limit
  alphas = {k: jnp.asarray(GOLDEN[f'cell_log_alpha_{k}']) for k in kinds}
  noises = [noise(GOLDEN[f'cell_index_{k}']) for k in kinds]
  y = GOLDEN['cell_y']

  def loss(mix):
    lo = jnp.asarray(GOLDEN['cell_base'])
    for layer, reduce in enumerate(GOLDEN['cell_layer_is_reduce']):
      kind = kinds[reduce]
      v = GOLDEN[f'cell_V_{kind}'][layer]
      c = jnp.tensordot(mix[kind], v, 2)[None]
      lo += c * (1 + 0.3 * jnp.tanh(lo)) / 4
    chosen = jax.nn.log_softmax(lo)[np.arange(len(y)), y]
    return -GOLDEN['cell_loss_scale'] * jnp.mean(chosen)

  def of_alphas(alphas, method):
    return loss(draw(alphas, noises, method))

  value, grads = jax.value_and_grad(of_alphas)(alphas, method)
  close(value, GOLDEN['cell_loss'])
  told = {
    'normal': GOLDEN['cell_grad_alpha_normal_per_edge'],
    'reduce': GOLDEN['cell_grad_alpha_reduce'],
  }
  mix = draw(alphas, noises)
  of_z = jax.grad(loss)(mix)
  free = jax.grad(of_alphas)(alphas, PLAIN)
  for kind in kinds:
    close(grads[kind], told[kind])
    credit = np.sum(mix[kind] * of_z[kind], axis=-1)
    close(credit, GOLDEN[f'cell_credit_{kind}_unclamped'])
    clipped = GOLDEN[f'cell_credit_{kind}']
    close(np.clip(credit, -limit, limit), clipped)
    over = np.abs(credit) > limit
    rows = np.abs(free[kind] - grads[kind]).max(axis=-1)
    np.testing.assert_array_equal(rows > 1e-9, over)
  # The slip: one table's rows are scaled.
  slip = GOLDEN['cell_grad_alpha_normal_released']
  apart = np.abs(grads['normal'] - slip).max()
  assert apart > 1e-3 * np.abs(slip).max()
  p = np.asarray(jax.nn.softmax(alphas['normal']))
  p = p[EDGES, GOLDEN['cell_index_normal']]
  close(grads['normal'] * (len(p) * p / p.sum())[:, None], slip)


def test_the_learning_rate_at_the_epochs_starts():
  told = GOLDEN['sched_lr_continue_E160_n4'][::4]
  epochs = np.arange(len(told))
  close(optimizers.cosine(told[0], 0.0, epochs, len(told)), told)
  told = GOLDEN['sched_lr_search_E240_n4'][::4]
  warmup = int(told.argmax())
  line = told[warmup:]
  epochs = np.arange(len(line))
  close(optimizers.cosine(line[0], 0.0, epochs, len(line)), line)

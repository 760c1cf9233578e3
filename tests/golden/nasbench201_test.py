"""NAS-Bench-201's supernet and its search against the authors' code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import nasbench201
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import totals
from tests.golden import filling

SPACE = SPACES['nasbench201']
DECAY = 5e-4


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope='module')
def golden():
  return filling.load('nasbench201')


@pytest.fixture(scope='module')
def net():
  return nasbench201.Supernet(SPACE, classes=10, channels=4, layers=1)


@pytest.fixture
def variables(net, golden):
  return filling.fill(net, filling.parameters(golden), filling.nasbench201)


@pytest.fixture
def alphas(golden):
  return {'cell': jnp.asarray(golden['net/alpha'])}


@pytest.fixture
def batches(golden):
  seed, labels = golden['meta/seed_s'], golden['net/labels']
  return [filling.batch(b, own, seed) for b, own in enumerate(labels)]


@pytest.mark.parametrize('form, shift', [('search', 1), ('evaluation', 2)])
def test_each_operation_alone(golden, form, shift):
  op = nasbench201.MixedOp(SPACE.primitives, affine=form == 'evaluation')
  seed = golden['meta/seed_s'] + shift
  filling.alone(golden, f'op/{form}', op, filling.convolution, seed, 1)


def test_the_supernet_s_logits_gradients_and_statistics(
  golden, net, variables, alphas, batches
):
  batch, stats = batches[0], variables['batch_stats']

  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(w, a):
    mix = jax.tree.map(jax.nn.softmax, a)
    logits, new = search.forward(net, w, stats, batch, mix)
    return totals.cross_entropy(logits, batch), (logits, new)

  (value, (logits, new)), (of_w, of_a) = jax.jit(loss)(
    variables['params'], alphas
  )
  filling.close(logits, golden['net/logits_train'])
  filling.close(value, golden['net/loss'])
  filling.close(of_a['cell'], golden['net/grad_alpha'])
  names = golden['net/param_names']
  squares = filling.sums(of_w, names, filling.nasbench201)[:, 1]
  np.testing.assert_allclose(
    np.sqrt(squares),
    golden['net/param_grad_l2'],
    rtol=1e-9,
    atol=filling.ROUNDING,
  )
  filling.close(np.sqrt(squares.sum()), golden['net/param_grad_global_l2'])

  # Ours hold the biased variance: of n values, (n - 1) / n of the release's.
  means, variances = [], []
  for name, n in zip(
    golden['net/bn_names'], golden['net/bn_count'], strict=True
  ):
    path, row = filling.nasbench201(name)
    mean, var = (
      np.ravel(filling.part(new, f'{path}/{of}', row)) for of in ('mean', 'var')
    )
    means.append(mean)
    variances.append(0.9 + (var - 0.9) * n / (n - 1))
  filling.close(np.concatenate(means), golden['net/bn_mean'])
  filling.close(np.concatenate(variances), golden['net/bn_var'])

  def validated(net):
    mix = jax.tree.map(jax.nn.softmax, alphas)
    kept = {'params': variables['params'], 'batch_stats': new}
    return jax.jit(net.apply)(kept, batch.image, mix)

  logits = validated(net)
  filling.close(logits, golden['net/logits_eval_biased'])
  assert np.abs(logits - golden['net/logits_eval']).max() > 1e-6
  # Untracked, all of ours take the batch's statistics; the release's stem,
  # blocks and last normalisation keep their running ones.
  logits = validated(net.clone(tracked=False))
  filling.close(logits, golden['net/logits_train'])
  assert np.abs(logits - golden['net/logits_eval_untracked']).max() > 1e-6


@pytest.mark.parametrize('method', ['darts', 'darts2'])
def test_the_first_alpha_step(golden, net, variables, alphas, batches, method):
  # Their virtual step has plain momentum, Nesterov's or not; ours has the
  # optimiser's own.
  limit, nesterov = float(golden['steps/clip']), method == 'darts'
  parts = filling.setup(net, method, nesterov)
  first = filling.state(parts, variables, alphas, DECAY, limit)
  end = filling.step(first, filling.KEY, *batches[1:3], parts)
  seen = filling.seen(first, end)['cell']
  if method == 'darts':
    filling.close(seen, golden['arch/first'])
  else:
    filling.close(seen, golden['arch/exact'])
    filling.close(seen, golden['arch/difference_r1e-6'], 1e-7)


def test_the_weight_step(golden, net, variables, alphas, batches):
  """Nesterov's momentum, and a clipping by the norm of the weights alone."""
  told = {
    name: value[0]
    for name, value in golden.items()
    if name.startswith('steps/v1')
  }
  names = golden['net/param_names']
  before = filling.sums(variables['params'], names, filling.nasbench201)[:, 0]

  def ends(clip):
    parts = filling.setup(net, 'darts', True)
    state = filling.state(parts, variables, alphas, DECAY, float(clip))
    end = filling.weights(state, *batches[1:3], parts)
    filling.close(end.sums.loss / 4, told['steps/v1/loss'])
    weights = end.params['weights']
    return filling.sums(weights, names, filling.nasbench201)

  filling.close(ends(golden['steps/clip']), told['steps/v1/weights'])

  # A first step is linear in the share that the clipping leaves.
  decayed = before * (1 - filling.LR * (1 + filling.MOMENTUM) * DECAY)

  def clipped(size):
    share = golden['steps/small_clip'] / size
    return decayed + share * (told['steps/v1/weights'][:, 0] - decayed)

  theirs, of_weights, _ = told['steps/v1_clipped/clip_norms']
  filling.close(
    clipped(theirs + 1e-6), told['steps/v1_clipped/weights'][:, 0], 1e-8
  )
  filling.close(ends(golden['steps/small_clip'])[:, 0], clipped(of_weights))
  assert of_weights < theirs


def test_three_steps_with_the_weights_first(
  golden, net, variables, alphas, batches
):
  limit = float(golden['steps/clip'])
  parts = filling.setup(net, 'darts', True, 'weights_first')
  state = filling.state(parts, variables, alphas, DECAY, limit)
  told = {
    name.removeprefix('steps/v1/'): value
    for name, value in golden.items()
    if name.startswith('steps/v1/')
  }
  loss, names = 0.0, golden['net/param_names']
  for t in range(3):
    before, (train, valid) = state, batches[1 + 2 * t : 3 + 2 * t]
    state = filling.step(before, filling.KEY, train, valid, parts)
    filling.close((state.sums.loss - loss) / 4, told['loss'][t])
    loss = state.sums.loss
    filling.close(state.params['alphas']['cell'], told['alpha'][t])
    seen = filling.seen(before, state)['cell']
    filling.close(seen, told['grad_alpha'][t])
    weights = state.params['weights']
    sums = filling.sums(weights, names, filling.nasbench201)
    filling.close(sums, told['weights'][t])
    filling.close(sums.sum(0), told['weights_total'][t])
  mix = jax.tree.map(jax.nn.softmax, state.params['alphas'])
  logits, _ = filling.forward(net, weights, state.stats, batches[0], mix)
  filling.close(logits, told['logits_train'])

"""The supernet and the search step against quark0/darts, edge by edge."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.kernels import build
from sdnas_jax.networks import ops
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import totals
from tests.golden import filling

SPACE = SPACES['darts']
DECAY = 3e-4
WAYS = ['grouped', 'shifted', *(['native'] if build.available() else [])]


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope='module')
def golden():
  return filling.load('darts')


@pytest.fixture(scope='module')
def net():
  return supernet.Supernet(SPACE, classes=10, channels=4, layers=5)


@pytest.fixture
def variables(net, golden):
  return filling.fill(net, filling.parameters(golden), filling.darts)


@pytest.fixture
def alphas(golden):
  return {
    kind: jnp.asarray(golden[f'net/alpha_{kind}']) for kind in SPACE.kinds
  }


@pytest.fixture
def batches(golden):
  seed, labels = golden['meta/seed_s'], golden['net/labels']
  return [filling.batch(b, own, seed) for b, own in enumerate(labels)]


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('how', WAYS)
def test_each_operation_alone(golden, stride, how):
  op = ops.MixedOp(SPACE.primitives, 4, stride)
  seed = golden['meta/seed_s'] + stride
  page = f'op/s{stride}'
  filling.alone(golden, page, op, filling.mixed, seed, stride, how)


def test_the_supernet_s_logits_gradients_and_statistics(
  golden, net, variables, alphas, batches
):
  batch, stats = batches[0], variables['batch_stats']

  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(w, a):
    mix = jax.tree.map(jax.nn.softmax, a)
    logits, new = net.apply(
      {'params': w, 'batch_stats': stats},
      batch.image,
      mix,
      train=True,
      capture_intermediates=lambda part, _: isinstance(part, supernet.Cell),
      mutable=['batch_stats', 'intermediates'],
    )
    return totals.cross_entropy(logits, batch), (logits, new)

  (value, (logits, new)), (of_w, of_a) = jax.jit(loss)(
    variables['params'], alphas
  )
  filling.close(logits, golden['net/logits_train'])
  filling.close(value, golden['net/loss'])
  for kind in SPACE.kinds:
    filling.close(of_a[kind], golden[f'net/grad_alpha_{kind}'])
  cells = [new['intermediates'][f'cell{n}']['__call__'][0] for n in range(5)]
  norms = [np.linalg.norm(cell) for cell in cells]
  filling.close(norms, golden['net/cell_out_l2'])
  squares = filling.sums(of_w, golden['net/param_names'], filling.darts)[:, 1]
  filling.close(np.sqrt(squares), golden['net/param_grad_l2'])
  filling.close(np.sqrt(squares.sum()), golden['net/param_grad_global_l2'])

  # Ours hold the biased variance: of n values, (n - 1) / n of the release's.
  for name, count, expected in zip(
    golden['net/bn_names'],
    golden['net/bn_count'],
    golden['net/bn_sums'],
    strict=True,
  ):
    path, row = filling.darts(name)
    mean, var = (
      np.ravel(filling.part(new['batch_stats'], f'{path}/{of}', row))
      for of in ('mean', 'var')
    )
    unbiased = 0.9 + (var - 0.9) * count / (count - 1)
    got = mean.sum(), (mean**2).sum(), unbiased.sum()
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
  kept = {'params': variables['params'], 'batch_stats': new['batch_stats']}
  logits = jax.jit(net.apply)(
    kept, batch.image, jax.tree.map(jax.nn.softmax, alphas)
  )
  filling.close(logits, golden['net/logits_eval_biased'])
  assert np.abs(logits - golden['net/logits_eval']).max() > 1e-6


@pytest.mark.parametrize(
  'run, method, clip',
  [
    ('first', 'darts', 'clip'),
    ('first_clipped', 'darts', 'small_clip'),
    ('exact', 'darts2', 'clip'),
    ('second', 'darts2', 'clip'),
    ('second_clipped', 'darts2', 'small_clip'),
  ],
)
def test_three_steps(
  golden, net, variables, alphas, batches, run, method, clip
):
  limit = float(golden[f'steps/{clip}'])
  exact = parts = filling.setup(net, method)
  if run.startswith('second'):  # by the release's difference
    own = methods.make(method, {'difference': 0.01})
    parts = dataclasses.replace(parts, method=own)
  state = filling.state(parts, variables, alphas, DECAY, limit)
  told = {
    name.removeprefix(f'steps/{run}/'): value
    for name, value in golden.items()
    if name.startswith(f'steps/{run}/')
  }
  # Theirs clips by the norm + 1e-6, ours by the norm.
  slack = 1e-9 if clip == 'clip' else 20 * 1e-6 / told['weight_grad_l2'].min()
  # The parameters after each step, after the last, or not at all.
  known = {0: (), 2: (2,), 3: range(3)}[np.ndim(told.get('weights', 0))]
  loss = 0.0
  for t in range(3):
    before, (train, valid) = state, batches[1 + 2 * t : 3 + 2 * t]
    state = filling.step(before, filling.KEY, train, valid, parts)
    if run == 'second_clipped':
      state = unclipped(before, state, train, valid, parts)
    filling.close((state.sums.loss - loss) / 4, told['loss'][t], slack)
    loss = state.sums.loss
    for kind, a in state.params['alphas'].items():
      filling.close(a, told[f'alpha_{kind}'][t], slack)
      seen = filling.seen(before, state)[kind]
      if t == 0:
        hypergradients(golden, run, kind, seen)
      if f'grad_alpha_{kind}' in told:
        filling.close(seen, told[f'grad_alpha_{kind}'][t])
    if run == 'second':
      other = filling.step(before, filling.KEY, train, valid, exact)
      for kind, seen in filling.seen(before, other).items():
        filling.close(seen, told[f'exact_alpha_{kind}'][t])
    names, weights = golden['net/param_names'], state.params['weights']
    sums = filling.sums(weights, names, filling.darts)
    filling.close(sums.sum(0), told['weights_total'][t], slack)
    if t in known:
      each = told['weights'].reshape(-1, *sums.shape)
      filling.close(sums, each[min(t, len(each) - 1)], slack)
  mix = jax.tree.map(jax.nn.softmax, state.params['alphas'])
  logits, _ = filling.forward(net, weights, state.stats, batches[0], mix)
  filling.close(logits, told['logits_train'], slack)
  # Only the weight step moves ours, as the page has it in `exact`.
  mean = np.ravel(state.stats['stem']['Norm_0']['mean'])
  if run == 'exact':
    filling.close(mean, told['stem_running_mean'])
  else:
    assert np.abs(mean - told['stem_running_mean']).max() > 1e-4


def unclipped(before, after, train, valid, parts):
  """A step whose alphas moved as in the release: by a step not clipped.

  Ours, `after`, is by one as the weights' own.
  """
  rates = before.rates | {'weights.clip': jnp.asarray(1e9)}
  free = before._replace(rates=rates)
  free = filling.step(free, filling.KEY, train, valid, parts)
  ours, theirs = (filling.seen(before, own) for own in (after, free))
  for kind, g in theirs.items():
    assert np.abs(g - ours[kind]).max() > 1e-3 * np.abs(g).max()
  inner = before.opt.inner_states
  inner = {**inner, 'alphas': free.opt.inner_states['alphas']}
  state = before._replace(
    params={**before.params, 'alphas': free.params['alphas']},
    opt=before.opt._replace(inner_states=inner),
  )
  return filling.weights(state, train, valid, parts)


def hypergradients(golden, run, kind, found):
  """At the first state."""
  if run.startswith('first'):
    filling.close(found, golden[f'arch/first_{kind}'])
  elif run.startswith('second'):
    filling.close(found, golden[f'arch/difference_{kind}'])
  else:
    filling.close(found, golden[f'arch/exact_{kind}'])
    filling.close(found, golden[f'arch/difference_r1e-6_{kind}'], 1e-7)
    # The release's own difference, of a longer step, crosses kinks.
    theirs = golden[f'arch/difference_{kind}'] - found
    assert np.linalg.norm(theirs) > 1e-2 * np.linalg.norm(found)

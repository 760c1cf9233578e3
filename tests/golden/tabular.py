"""One released training step of a small network of NAS-Bench-201's.

There the convolutions have no bias, and the clipping sees the alphas' gradient
of the training loss too; here a bias is 0, for normalisation cancels it, and
the clipping sees the weights' alone.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.networks import nasbench201
from sdnas_jax.spaces import SPACES
from tests.golden import filling
from tests.golden import pytorch

DECAY = 3e-4


def limit(clip, joint, own):
  """By which ours clips a norm as theirs does, which sees the joint one."""
  scale = clip / (joint + 1e-6)
  return jnp.asarray(own * scale if scale < 1 else np.inf)


class Case:
  """A page's `nb201step`, and what it says elsewhere."""

  def __init__(self, golden, **more):
    self.told = more | {
      name.removeprefix('nb201step_'): x
      for name, x in golden.items()
      if name.startswith('nb201step_')
    }
    self.values = [
      (pytorch.tabular(name), x)
      for name, x in pytorch.sines(self.told['param_names'])
    ]

  def check(self, method, run):
    """Compares run(state, train, valid, parts)'s state; returns the rest."""
    told, net = self.told, nasbench201.Supernet(SPACES['nasbench201'], 10, 4, 1)
    variables = filling.fill(net, self.values, filling.nasbench201, rest=0.0)
    parts = dataclasses.replace(filling.setup(net), method=method)
    alphas = {'cell': jnp.asarray(told['alpha_init'])}
    assert told['lr'] == filling.LR
    clip = limit(
      *(told[n] for n in ('grad_clip', 'norm_with_arch')),
      told['norm_weights_only'],
    )
    state = filling.state(parts, variables, alphas, DECAY, clip)
    halves = [
      filling.ready(told[f'{half}_x'], told[f'{half}_y'])
      for half in ('train', 'valid')
    ]
    after, rest = run(state, *halves, parts=parts)
    self.compare(after)
    # Of the type that a state's own have, or the step is compiled again.
    usual = state.rates | {
      'weights.clip': jnp.asarray(float(told['grad_clip']))
    }
    other, _ = run(state._replace(rates=usual), *halves, parts=parts)
    found = other.params['weights']['classifier']['kernel'][0].T
    assert np.abs(found - told['classifier_weight_after']).max() > 1e-7
    return rest

  def compare(self, state):
    told, params = self.told, state.params['weights']
    np.testing.assert_allclose(
      state.params['alphas']['cell'], told['alpha_after'], rtol=1e-8, atol=1e-9
    )
    names = [name for name, _ in self.values]
    sums = filling.sums(params, names, filling.nasbench201)
    for column, of in enumerate(('sum', 'sumsq')):
      np.testing.assert_allclose(
        sums[:, column], told[f'param_{of}_after'], rtol=1e-8, atol=1e-9
      )
    np.testing.assert_allclose(
      params['classifier']['kernel'][0].T,
      told['classifier_weight_after'],
      **{'rtol': 1e-8, 'atol': 1e-9},
    )
    biases = [
      jnp.abs(x).max()
      for path, x in jax.tree_util.tree_leaves_with_path(params)
      if path[-1].key == 'bias' and 'nor_conv' in str(path)
    ]
    assert max(biases) < 1e-12

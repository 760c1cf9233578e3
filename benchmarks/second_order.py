"""How far is DARTS's finite difference from the exact second order?

  python benchmarks/second_order.py

A search on the digits by the exact gradient, looked at after several numbers of
steps: there both gradients of the alphas are taken at the same weights and
batches, in single and in double precision, the difference by several lengths of
its step. A line each: the error relative to the exact gradient's norm, and the
cosine. The last line is JSON, of the medians over the steps.
"""

import argparse
import functools
import json
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).parent.parent


def begun():
  """The first state, both halves and the setup of a search on the digits."""
  from configs import search_digits
  from sdnas_jax import parallel
  from sdnas_jax.data import dataset
  from sdnas_jax.data import sources
  from sdnas_jax.data import split
  from sdnas_jax.spaces import SPACES
  from sdnas_jax.tasks import search as task
  from sdnas_jax.tasks import stages

  config = search_digits.get_config()
  config.method, config.distill.weight = 'darts2', 0.0
  source = sources.find('digits', '')
  half = source.examples // 2
  space = SPACES[config.space]
  stage = task.begin(stages.plan(config, space)[0], space, source, half)
  images, labels = dataset.load(source, 2 * half, 'train', 'auto')
  halves = [
    parallel.replicate(split.Split(images[own], labels[own]))
    for own in (slice(half), slice(half, 2 * half))
  ]
  return parallel.replicate(stage.first()), halves, stage.setup


def gradient(go, state, halves, setup, options):
  """Of the alphas, in one vector: what Adam sees at a step."""
  import dataclasses

  import jax
  from jax import flatten_util
  import jax.numpy as jnp
  import numpy as np
  import optax

  from sdnas_jax import methods

  setup = dataclasses.replace(setup, method=methods.make('darts2', options))
  plain = {name: 0.0 for name in ('alphas.b1', 'alphas.decay')}
  plain = {k: jnp.asarray(v, state.rates[k].dtype) for k, v in plain.items()}
  state = state._replace(rates=state.rates | plain)
  stop = np.int32(int(state.step) + 1)
  after = go(state, jax.random.key(0), *halves, stop, setup)
  moments = optax.tree_utils.tree_get(after.opt, 'mu')['alphas']
  return np.asarray(flatten_util.ravel_pytree(moments)[0], np.float64)


def double(state):
  """The state in double precision."""
  import jax
  import jax.numpy as jnp

  def wide(x):
    return x.astype(jnp.float64) if x.dtype == jnp.float32 else x

  return jax.tree.map(wide, state)


def widened(take):
  """`split.take`, of images in double precision where that is on."""
  import jax.numpy as jnp

  def own(*given):
    batch = take(*given)
    return batch._replace(image=batch.image.astype(jnp.result_type(float)))

  return own


def compared(exact, near):
  """The relative error and the cosine."""
  import numpy as np

  size, other = np.linalg.norm(exact), np.linalg.norm(near)
  return np.linalg.norm(near - exact) / size, exact @ near / (size * other)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--steps', type=int, nargs='+', default=[1, 60, 120, 220])
  parser.add_argument('--lengths', type=float, nargs='+', default=[1e-2, 1e-4])
  args = parser.parse_args()
  sys.path.insert(0, str(ROOT))
  import jax
  import numpy as np

  from sdnas_jax import compilation
  from sdnas_jax.data import split
  from sdnas_jax.steps import search

  compilation.keep()
  split.take = widened(split.take)
  state, halves, setup = begun()
  go, states, found = jax.jit(search.advance), {}, {}
  for steps in args.steps:
    while int(state.step) < steps:
      stop = min(steps, (int(state.epoch) + 1) * setup.steps)
      state = go(state, jax.random.key(0), *halves, np.int32(stop), setup)
      if int(state.step) % setup.steps == 0:
        state = state._replace(epoch=state.epoch + 1)
    states[steps] = state
  for precision in ('float32', 'float64'):
    with jax.enable_x64(precision == 'float64'):
      for steps, state in states.items():
        own = double(state) if precision == 'float64' else state
        at = functools.partial(gradient, go, own, halves, setup)
        exact = at({})
        for length in args.lengths:
          error, cosine = compared(exact, at({'difference': length}))
          found.setdefault(f'{precision}_{length:g}', []).append(error)
          print(
            f'step {steps:>4}  {precision}  r = {length:<6g}  '
            f'error {error:8.2e}  cosine {cosine:.4f}',
            flush=True,
          )
  print(json.dumps({k: statistics.median(v) for k, v in found.items()}))


if __name__ == '__main__':
  main()

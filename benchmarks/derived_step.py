"""Times the training step of a derived network, and its inference.

  python benchmarks/derived_step.py --layers=8
  python benchmarks/derived_step.py --against=torch

The second also runs the same network in plain PyTorch (`pip install torch`), in
turns. The last line is JSON: medians over rounds, `ratio` that of PyTorch's
time to ours within a round, `infer_ratio` the same for inference. On a shared
machine only ratios of one run mean anything. Random CIFAR images, drop path on.
"""

import json
import multiprocessing
import pathlib
import statistics
import sys
import time

import search_step

ROOT = pathlib.Path(__file__).parent.parent
DROP = 0.3


def ours(pipe, args):
  """Serves rounds of our own steps."""
  sys.path.insert(0, str(ROOT))
  import jax
  import numpy as np

  from configs import evaluate_cifar
  from sdnas_jax import malloc
  from sdnas_jax import parallel
  from sdnas_jax.data import sources
  from sdnas_jax.data import split
  from sdnas_jax.networks import sizing
  from sdnas_jax.spaces import published
  from sdnas_jax.steps import evaluate
  from sdnas_jax.steps import totals
  from sdnas_jax.tasks import evaluate as task

  malloc.keep()
  config = evaluate_cifar.get_config()
  config.update_from_flattened_dict(search_step.sizes(args))
  config.weights.drop_path = DROP
  source = sources.find('cifar10', '')
  genotype = published.find(args.genotype)
  setup = task.assemble(config, genotype, source)
  variables = sizing.variables(sizing.shapes(setup.net, source.shape), 0)
  # At the last epoch, so that paths are dropped.
  state = evaluate.init(setup, variables)
  state = parallel.replicate(state._replace(epoch=np.int32(config.epochs)))
  rng = np.random.default_rng(0)
  data = parallel.replicate(
    split.Split(
      rng.integers(0, 256, (args.batch, *source.shape), np.uint8),
      rng.integers(0, 10, args.batch).astype(np.int32),
    )
  )
  place, key, zero = parallel.everywhere(), jax.random.key(0), totals.zero()
  begun = time.perf_counter()
  train = jax.jit(evaluate.advance, donate_argnums=0, out_shardings=place)
  train = train.lower(state, key, data, np.int32(0), setup).compile()
  infer = jax.jit(evaluate.validate, out_shardings=place)
  one, none = np.int32(1), np.int32(0)
  infer = infer.lower(state, data, zero, none, one, setup).compile()
  malloc.give_back()
  pipe.send(time.perf_counter() - begun)
  stop = 0
  while (what := pipe.recv()) is not None:
    begun = time.perf_counter()
    if what == 'train':
      stop += 1
      state = train(state, key, data, np.int32(stop), setup)
      jax.block_until_ready(state)
    else:
      jax.block_until_ready(infer(state, data, zero, none, one, setup))
    pipe.send(time.perf_counter() - begun)
    if stop == 1:  # as `loop.run` does after the first
      malloc.give_back()
  pipe.send(search_step.peak())


def torch(pipe, args):
  """Serves rounds of PyTorch's steps."""
  sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]
  import torch_derived

  from sdnas_jax.spaces import published

  genotype = published.find(args.genotype)
  training = torch_derived.Training(
    genotype, args.batch, args.channels, args.layers, DROP
  )
  pipe.send(0.0)
  while (what := pipe.recv()) is not None:
    begun = time.perf_counter()
    training.step() if what == 'train' else training.infer()
    pipe.send(time.perf_counter() - begun)
  pipe.send(search_step.peak())


def arguments():
  parser = search_step.sized(__doc__)
  parser.set_defaults(batch=32, channels=36, layers=20)
  parser.add_argument('--genotype', default='DARTS_V2')
  parser.add_argument('--against', choices=['torch'])
  return parser.parse_args()


def main():
  args = arguments()
  context = multiprocessing.get_context('spawn')
  pipes = {'ours': search_step.serve(context, ours, args)}
  result = {'compile': pipes['ours'].recv()}
  print(f'compiled in {result["compile"]:.1f} s', flush=True)
  if args.against:
    pipes['torch'] = search_step.serve(context, torch, args)
    pipes['torch'].recv()
  times = {(name, what): [] for what in ('train', 'infer') for name in pipes}
  for n in range(args.rounds + 1):  # the first warms up
    for name, what in times:
      seconds = search_step.ask(pipes[name], what)
      if n:
        times[name, what].append(seconds)
        print(f'{name:<6} {what:<6} {seconds:8.3f} s a batch', flush=True)
  for (name, what), seconds in times.items():
    median = statistics.median(seconds)
    print(f'{name:<6} {what:<6} {args.batch / median:8.1f} im/s')
    result[f'{name}_{what}_s'] = median
  for name, pipe in pipes.items():
    result[f'{name}_gb'] = search_step.ask(pipe, None)
  if args.against:
    for what, ratio in (('train', 'ratio'), ('infer', 'infer_ratio')):
      pairs = zip(times['torch', what], times['ours', what], strict=True)
      result[ratio] = statistics.median(a / b for a, b in pairs)
  print(json.dumps({k: round(v, 3) for k, v in result.items()}))


if __name__ == '__main__':
  main()

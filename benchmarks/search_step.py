r"""Times the whole search step, alphas and weights, on random CIFAR images.

  python benchmarks/search_step.py --layers=3
  python benchmarks/search_step.py --against=torch
  python benchmarks/search_step.py --against='method="darts2"'
  python benchmarks/search_step.py --against='method="gdas"'
  python benchmarks/search_step.py --layers=5 --set='space="nasbench201"' \
    --against=torch
  python benchmarks/search_step.py --layers=3 --alive 1 4

The first and the fifth print images a second, peak memory and compile time,
cold and warm. The others also run, in turns, the same step in plain PyTorch
(`pip install torch`), the same search with another setting, and the same with
one and with four operations left on each edge, the rest masked. All end in one
line of JSON. Each side is a process of its own, so that each has its own
memory. A figure is a median over rounds, a `ratio` that of the other side to
ours within a round, `cpu` is the processor's time of all threads. On a shared
machine only ratios of one run mean anything, those of `cpu` the most.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from typing import Any
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent


class Point(NamedTuple):
  """One search whose step is timed."""

  override: dict[str, Any]  # of the space's search config
  classes: int = 10
  examples: int = 0  # of each half; 0: eight batches
  devices: int = 0  # virtual ones; 0: those that there are
  again: bool = True  # also time compiling from the cache
  alive: int = 0  # operations left on each edge, at random; 0: all


def assemble(point):
  """The state before the first step, both halves and the setup."""
  import numpy as np

  from configs import search_cifar
  from configs import search_nasbench201
  from sdnas_jax import parallel
  from sdnas_jax.data import sources
  from sdnas_jax.data import split
  from sdnas_jax.spaces import SPACES
  from sdnas_jax.tasks import search as task
  from sdnas_jax.tasks import stages

  other = point.override.get('space') == 'nasbench201'
  config = (search_nasbench201 if other else search_cifar).get_config()
  config.update_from_flattened_dict(point.override)
  source = sources.find('cifar10', '')._replace(classes=point.classes)
  space = SPACES[config.space]
  half = point.examples or 8 * config.batch_size
  stage = task.begin(stages.plan(config, space)[0], space, source, half)
  rng = np.random.default_rng(0)
  first = stage.first()
  if point.alive:
    mask = {
      kind: rng.permuted(np.indices(m.shape)[1] < point.alive, axis=1)
      for kind, m in first.mask.items()
    }
    first = first._replace(mask=mask)
  halves = [
    parallel.replicate(
      split.Split(
        rng.integers(0, 256, (half, *source.shape), np.uint8),
        rng.integers(0, source.classes, half).astype(np.int32),
      )
    )
    for _ in range(2)
  ]
  return parallel.replicate(first), halves, stage.setup


def ours(pipe, point):
  """Serves rounds of our own steps."""
  sys.path.insert(0, str(ROOT))
  if point.devices:
    flag = f'--xla_force_host_platform_device_count={point.devices}'
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {flag}'
  import jax
  import numpy as np

  from sdnas_jax import malloc
  from sdnas_jax import parallel
  from sdnas_jax.steps import search

  malloc.keep()
  cache = tempfile.TemporaryDirectory()
  jax.config.update('jax_compilation_cache_dir', cache.name)
  state, halves, setup = assemble(point)
  step = jax.jit(
    search.advance, donate_argnums=0, out_shardings=parallel.everywhere()
  )
  key, seconds = jax.random.key(0), {}

  def measure(name, f):
    begun = time.perf_counter()
    out = f()
    seconds[name] = time.perf_counter() - begun
    return out

  def compile():
    return traced.lower().compile()

  traced = measure(
    'trace', lambda: step.trace(state, key, *halves, np.int32(0), setup)
  )
  go = measure('compile_cold', compile)
  planned = go.memory_analysis()
  if point.again:
    jax.clear_caches()
    go = measure('compile_warm', compile)
  malloc.give_back()
  pipe.send(seconds)
  stop = 0
  while (steps := pipe.recv()) is not None:
    stop += steps
    begun = clocks()
    state = jax.block_until_ready(
      go(state, key, *halves, np.int32(stop), setup)
    )
    pipe.send((clocks() - begun) / steps)
    if stop == steps:  # as `loop.run` does after the first
      malloc.give_back()
  each = planned.argument_size_in_bytes + planned.temp_size_in_bytes
  pipe.send((peak(), jax.device_count() * each / 2**30))


def torch(pipe, args):
  """Serves rounds of PyTorch's steps."""
  sys.path.insert(0, str(pathlib.Path(__file__).parent))
  import torch_supernet

  space = dict(args.set).get('space', 'darts')
  sizes = args.batch, args.channels, args.layers
  search = torch_supernet.Search(*sizes, space=space)
  pipe.send({})
  while (steps := pipe.recv()) is not None:
    begun = clocks()
    for _ in range(steps):
      search.step()
    pipe.send((clocks() - begun) / steps)
  pipe.send((peak(), None))


def clocks():
  """The time, and what the process's threads had of the processor; seconds."""
  import numpy as np

  return np.array([time.perf_counter(), time.process_time()])


def peak():
  """The process's largest memory, in GB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def serve(context, side, args):
  here, there = context.Pipe()
  process = context.Process(target=side, args=(there, args), daemon=True)
  process.start()
  return here


def ask(pipe, question):
  pipe.send(question)
  return pipe.recv()


def setting(text):
  """A field of the config and its value, from FIELD=JSON."""
  field, _, value = text.partition('=')
  try:
    return field, json.loads(value)
  except json.JSONDecodeError:
    raise argparse.ArgumentTypeError(
      f'{text!r} is not FIELD=JSON, such as model.bf16=true or '
      'method=\'"darts2"\' in quotes'
    ) from None


def sized(description):
  """A parser of the sizes that every benchmark of the supernet has."""
  parser = argparse.ArgumentParser(
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--batch', type=int, default=64)
  parser.add_argument('--channels', type=int, default=16)
  parser.add_argument('--layers', type=int, default=8)
  parser.add_argument('--rounds', type=int, default=5)
  return parser


def sizes(args):
  """The same as fields of the config."""
  return {
    'batch_size': args.batch,
    'model.channels': args.channels,
    'model.layers': args.layers,
  }


def arguments():
  parser = sized(__doc__)
  parser.add_argument('--steps', type=int, default=1, help='in a round')
  parser.add_argument(
    '--against',
    type=lambda text: text if text == 'torch' else setting(text),
    metavar='torch | FIELD=JSON',
  )
  parser.add_argument(
    '--set',
    type=setting,
    action='append',
    default=[],
    metavar='FIELD=JSON',
    help="of the space's search config, on all sides",
  )
  parser.add_argument(
    '--alive',
    type=int,
    nargs='+',
    default=[],
    metavar='N',
    help='also with N operations left on each edge',
  )
  return parser.parse_args()


def main():
  args = arguments()
  override = sizes(args) | dict(args.set)
  context = multiprocessing.get_context('spawn')
  pipes = {'ours': serve(context, ours, Point(override))}
  compiled = pipes['ours'].recv()
  for name, value in compiled.items():
    print(f'{name:<14} {value:8.1f} s', flush=True)
  others = {}
  if args.against == 'torch':
    others['torch'] = torch, args
  elif args.against:
    field, value = args.against
    others['other'] = ours, Point(override | {field: value}, again=False)
  for n in args.alive:
    others[f'alive{n}'] = ours, Point(override, again=False, alive=n)
  for name, side in others.items():
    pipes[name] = serve(context, *side)
    pipes[name].recv()
  times = {name: [] for name in pipes}
  for n in range(args.rounds + 1):  # the first warms up
    for name, pipe in pipes.items():
      seconds, cpu = ask(pipe, args.steps)
      if n:
        times[name].append((seconds, cpu))
        print(
          f'{name:<14} {seconds:8.3f} s a step, {cpu:.3f} s cpu', flush=True
        )
  result = {}
  for name, pipe in pipes.items():
    median, cpu = map(statistics.median, zip(*times[name], strict=True))
    memory, _ = ask(pipe, None)
    rate = args.batch / median
    print(f'{name:<14} {median:8.3f} s, {rate:.1f} im/s, peak {memory:.2f} GB')
    result |= {f'{name}_s': median, f'{name}_cpu': cpu, f'{name}_gb': memory}
  for name in others:
    for k, kind in enumerate(('ratio', 'cpu_ratio')):
      pairs = zip(times[name], times['ours'], strict=True)
      ratio = statistics.median(a[k] / b[k] for a, b in pairs)
      result[f'{name}_{kind}'] = ratio
    result[f'{name}_memory_ratio'] = result['ours_gb'] / result[f'{name}_gb']
  print(json.dumps({k: round(v, 3) for k, v in (result | compiled).items()}))


if __name__ == '__main__':
  main()

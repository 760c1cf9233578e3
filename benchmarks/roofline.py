"""How near each of the CPU's kernels is to what the machine can do.

  python benchmarks/roofline.py
  python benchmarks/roofline.py --channels=32 --side=16 --type=bfloat16

First what the machine does at best, on all cores: products and sums of vectors
in registers, and copies of arrays too large for any cache.
Then the kernels of a search step by themselves, at the sizes of a cell's first
node, as the step calls them: convolutions take their outputs' moments, and
their gradients make what reaches the outputs from the mixture's gradient. Of
each the time, its arithmetic by the formula (two operations a product and sum)
as a share of that rate, and the bytes of its operands and results, each read or
written once, as a share of that bandwidth. A kernel whose two shares are both
small waits for neither: it computes what is needed again, moves data within the
caches, or is too small. Medians; run it alone on the machine.
"""

import argparse
from concurrent import futures
import ctypes
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import jax
import jax.numpy as jnp

from sdnas_jax import malloc
from sdnas_jax.kernels import build
from sdnas_jax.kernels import convolution
from sdnas_jax.kernels import mixture
from sdnas_jax.kernels import pool
from sdnas_jax.kernels import separable


def clock(f, rounds):
  """The median time of a call, in seconds; the first warms up."""
  f()
  seconds = []
  for _ in range(rounds):
    begun = time.perf_counter()
    f()
    seconds.append(time.perf_counter() - begun)
  return statistics.median(seconds)


PEAK = """
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float Vec __attribute__((vector_size(BYTES)));
extern "C" long peak(long times, float* result) {
  Vec sums[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) sums[i] = Vec{} + (*result + i);
  for (long n = 0; n < times; ++n)
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = sums[i] * 0.5f + 1.0f;
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) *result += sums[i][0];
  return times * 24 * (BYTES / 4);
}
"""


def peak(rounds):
  """Operations a second, in float32."""
  cores, times = len(os.sched_getaffinity(0)), 10**8
  with tempfile.TemporaryDirectory() as folder:
    source, library = (pathlib.Path(folder) / f'peak.{x}' for x in ('cc', 'so'))
    source.write_text(PEAK)
    flags = '-O3', '-march=native', '-shared', '-fPIC'
    compiler = [*build._compiler(), *flags, str(source), '-o', str(library)]
    subprocess.run(compiler, check=True)
    run = ctypes.CDLL(library).peak
  run.restype, run.argtypes = ctypes.c_long, [ctypes.c_long, ctypes.c_void_p]
  result = ctypes.byref(ctypes.c_float())

  def every():
    return sum(pool.map(lambda _: run(times, result), range(cores)))

  with futures.ThreadPoolExecutor(cores) as pool:
    return every() / clock(every, rounds)


def bandwidth(rounds):
  """Bytes a second, read and written."""
  cores = len(os.sched_getaffinity(0))
  parts = [np.ones((2, 2**25), np.float32) for _ in range(cores)]
  with futures.ThreadPoolExecutor(cores) as pool:
    seconds = clock(
      lambda: list(pool.map(lambda one: np.copyto(*one), parts)), rounds
    )
  return sum(one.nbytes for one in parts) / seconds


def kernels(batch, side, channels, dtype):
  """(name, function, operands, multiplications) of each."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape).astype(np.float32))

  def image(n):
    return draw(n, batch, side, side, channels).astype(dtype)

  given = draw, image, batch * side * side, channels
  yield from convolutions(*given, batch)
  yield from mixtures(*given, batch)
  x = image(1)
  yield 'pools', lambda x: pool.both(x, 1, True), (x,), 9 * x.size


def convolutions(draw, image, pixels, channels, batch):
  edges = 4  # that leave a cell's first node
  share = jnp.full((1, batch, 1, 1, 1), 1 / pixels)
  for name, sizes, dilations in (
    ('separable, shared', (3, 5), (1, 1)),
    ('separable, apart', (3, 5), (1, 1)),
    ('dilated', (3, 5), (2, 2)),
  ):
    x = image(1 if 'apart' not in name else 2 * edges)
    depths = tuple(draw(edges, size, size, channels) for size in sizes)
    point = draw(2 * edges, channels, channels)
    promise = separable.promise(x, depths, point, dilations, 1)
    taps = edges * sum(size**2 for size in sizes)
    products = pixels * channels * taps + 2 * edges * pixels * channels**2
    yield from gradients(name, promise, draw, image, share, products)
  edges = 3  # that leave NAS-Bench-201's first node
  both = tuple(draw(edges, size, size, channels, channels) for size in (3, 1))
  promise = convolution.promise(image(1), both)
  products = 10 * edges * pixels * channels**2
  yield from gradients('dense', promise, draw, image, share, products)


def mixtures(draw, image, pixels, channels, batch):
  edges, stack = 4, 2
  z, g, p = image(stack * edges), image(edges), draw(stack, edges, 1)
  share = jnp.full((1, batch, 1, 1, 1), 1 / pixels)
  mean = draw(stack * edges, 1, 1, 1, channels)
  size, own = g.size, jnp.ones((stack, edges), bool)
  yield (
    'moments',
    lambda z: mixture.moments(z, share, own.reshape(-1), True),
    (z,),
    2 * z.size,
  )
  yield (
    'mix',
    lambda z: mixture.mix(p, None, z, mean, mean, own, True),
    (z,),
    stack * size,
  )
  yield (
    'products',
    lambda g, z: mixture.products(g, z, own, True),
    (g, z),
    z.size,
  )
  sums = mean[:edges], mean
  yield (
    "mixture's gradient",
    lambda g, z: mixture._input_gradient(
      g, z, share, p, mean, mean, *sums, own, True
    ),
    (g, z),
    2 * z.size,
  )


def gradients(name, promise, draw, image, share, products):
  """The forward pass, the input's gradient and that with the kernels'."""
  kind, x, weights = promise
  outputs = promise.shape[0]
  stack, alive = 2, jnp.ones((2, outputs // 2), bool)
  factors = draw(3, *alive.shape, 1, 1, 1, promise.shape[-1])
  g, z = image(outputs // stack), image(outputs)
  pulled = x, weights, g, z

  def forward(x, weights):
    return kind.moments(x, weights, share, alive.reshape(-1))

  yield name, forward, (x, weights), products
  for which, times in (('input', 1), ('both', 2)):

    def back(*pulled, which=which):
      return getattr(kind, which)(*pulled, share, tuple(factors), alive)

    yield f'{name}: {which}', back, pulled, times * products


def traffic(*trees):
  return sum(
    math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(trees)
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--batch', type=int, default=64)
  parser.add_argument('--side', type=int, default=32)
  parser.add_argument('--channels', type=int, default=16)
  parser.add_argument('--type', default='float32', choices=build.TYPES)
  parser.add_argument('--rounds', type=int, default=9)
  args = parser.parse_args()
  malloc.keep()
  rate, bytes_a_second = peak(args.rounds), bandwidth(args.rounds)
  print(f'{rate / 1e9:.0f} GFLOP/s, {bytes_a_second / 1e9:.1f} GB/s')
  print(f'{"":<26} {"ms":>8} {"GFLOP/s":>8} {"share":>6} {"GB/s":>6} share')
  for name, f, operands, products in kernels(
    args.batch, args.side, args.channels, args.type
  ):
    go = jax.jit(f)
    out = jax.block_until_ready(go(*operands))
    seconds = clock(
      lambda go=go, operands=operands: jax.block_until_ready(go(*operands)),
      args.rounds,
    )
    flops, moved = 2 * products / seconds, traffic(operands, out) / seconds
    print(
      f'{name:<26} {1e3 * seconds:8.2f} {flops / 1e9:8.1f} '
      f'{flops / rate:6.0%} {moved / 1e9:6.1f} {moved / bytes_a_second:5.0%}',
      flush=True,
    )


if __name__ == '__main__':
  main()

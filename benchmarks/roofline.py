"""How near each of the CPU's kernels is to what the machine can do.

  python benchmarks/roofline.py
  python benchmarks/roofline.py --channels=32 --side=16

First what the machine does at best: the products of two matrices of 2048 rows
by NumPy's BLAS, and copies of arrays too large for any cache, on all cores.
Then the kernels of a search step by themselves, at the sizes of a cell's first
node (a step has them take the outputs' moments, and make the gradient that
reaches the outputs, besides): each one's time, its arithmetic by the formula
(two operations a product and sum) as a share of that rate, and the bytes of its
operands and results, each read or written once, as a share of that bandwidth. A
kernel whose two shares are both small waits for neither: it computes what is
needed again, moves data within the caches, or is too small. Medians; run it
alone on the machine.
"""

import argparse
from concurrent import futures
import math
import os
import pathlib
import statistics
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import jax
import jax.numpy as jnp

from sdnas_jax import malloc
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


def peak(rounds):
  """Operations a second, in float32."""
  a = np.ones((2048, 2048), np.float32)
  return 2 * 2048**3 / clock(lambda: a @ a, rounds)


def bandwidth(rounds):
  """Bytes a second, read and written."""
  cores = len(os.sched_getaffinity(0))
  parts = [np.ones((2, 2**25), np.float32) for _ in range(cores)]
  with futures.ThreadPoolExecutor(cores) as pool:
    seconds = clock(
      lambda: list(pool.map(lambda one: np.copyto(*one), parts)), rounds
    )
  return sum(one.nbytes for one in parts) / seconds


def kernels(batch, side, channels):
  """(name, function, operands, multiplications) of each."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape).astype(np.float32))

  def image(n):
    return draw(n, batch, side, side, channels)

  given = draw, image, batch * side * side, channels
  yield from convolutions(*given)
  yield from mixtures(*given, batch)
  x = image(1)
  yield 'pools', lambda x: pool.both(x, 1, True), (x,), 9 * x.size


def convolutions(draw, image, pixels, channels):
  edges = 4  # that leave a cell's first node
  x, g = image(1), image(2 * edges)
  for name, sizes, dilations in (
    ('separable, shared', (3, 5), (1, 1)),
    ('separable, apart', (3, 5), (1, 1)),
    ('dilated', (3, 5), (2, 2)),
  ):
    own = x if 'apart' not in name else image(2 * edges)
    depths = tuple(draw(edges, size, size, channels) for size in sizes)
    point = draw(2 * edges, channels, channels)

    def forward(x, k, w, dilations=dilations):
      return separable.convolve(x, k, w, dilations, 1, 'native')

    taps = edges * sum(size**2 for size in sizes)
    products = pixels * channels * taps + 2 * edges * pixels * channels**2
    yield from gradients(name, forward, (own, depths, point), g, products)
  edges = 3  # that leave NAS-Bench-201's first node
  both = tuple(draw(edges, size, size, channels, channels) for size in (3, 1))

  def convolve(x, k):
    return convolution.convolve(x, k, 1, True)

  products = 10 * edges * pixels * channels**2
  yield from gradients('dense', convolve, (x, both), image(6), products)


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


def gradients(name, f, operands, g, products):
  """The forward pass, the input's gradient and the kernels'."""
  x, *rest = operands
  yield name, f, operands, products
  yield (
    f'{name}: input',
    lambda g, *rest: jax.vjp(lambda x: f(x, *rest), x)[1](g)[0],
    (g, *rest),
    products,
  )
  yield (
    f'{name}: kernels',
    lambda x, g: jax.vjp(lambda *rest: f(x, *rest), *rest)[1](g),
    (x, g),
    products,
  )


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
  parser.add_argument('--rounds', type=int, default=9)
  args = parser.parse_args()
  malloc.keep()
  rate, bytes_a_second = peak(args.rounds), bandwidth(args.rounds)
  print(f'{rate / 1e9:.0f} GFLOP/s, {bytes_a_second / 1e9:.1f} GB/s')
  print(f'{"":<26} {"ms":>8} {"GFLOP/s":>8} {"share":>6} {"GB/s":>6} share')
  for name, f, operands, products in kernels(
    args.batch, args.side, args.channels
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

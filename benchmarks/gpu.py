"""Times every way to compute a supernet's convolutions, and notes the fastest.

  python benchmarks/gpu.py
  python benchmarks/gpu.py --batch=16 --layers=3 --rounds=3

It needs no data, and serves CPUs as well. The first table has, for each kernel
size, dilation, stride, number of channels and resolution of the DARTS space's
supernet, in both types and in each way that `model.depthwise` names, the
microseconds of ReLU, depthwise and 1x1 convolution: of the forward pass, of the
gradient in the image and of those in the kernels, each a program of its own, on
as many edges as leave a node. The second has the seconds of a whole search step
and what XLA sets aside for it. A figure is a median over rounds; what a device
or its compiler fails at has none.

The way of the fastest step in each type is noted in the user's cache, in a file
that the last line but one names. From then on it is what 'auto' means on
devices of this kind; without the file, what it meant before. The last line is
JSON: the seconds of the steps.
"""

from collections.abc import Callable
from collections.abc import Sequence
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import search_step

ROOT = pathlib.Path(__file__).parent.parent
CALLS = 10  # of a convolution in a round, issued at once
TYPES = {'float32': False, 'bfloat16': True}  # and `model.bf16`
SHAPE = 'kernel', 'dilation', 'stride', 'channels', 'size'
PASSES = 'forward', 'image', 'kernels'


def shapes(net: Any) -> dict[tuple[int, ...], int]:
  """What SHAPE names of each convolution, and the most edges that have it."""
  from flax import linen as nn
  import jax

  from sdnas_jax.networks import ops
  from sdnas_jax.tasks import search

  found = {}

  def note(call, args, kwargs, context):
    module = context.module
    if isinstance(module, ops.Separable):
      channels, size = args[0].shape[-1], args[0].shape[2]
      for kernel in module.kernels:
        key = *kernel, module.stride, channels, size
        found[key] = max(found.get(key, 0), module.edges)
    return call(*args, **kwargs)

  images = jax.ShapeDtypeStruct((1, 32, 32, 3), 'float32')
  given = jax.random.key(0), images, search.mix_shapes(net)
  # What jit has traced before would not be met again.
  with nn.intercept_methods(note), jax.disable_jit():
    jax.eval_shape(net.clone(depthwise='grouped').init, *given)
  return dict(sorted(found.items()))


def passes(
  way: str, shape: tuple[int, ...], edges: int, batch: int, dtype: str
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
  """Each of PASSES as a function with its operands."""
  import jax
  import numpy as np

  from sdnas_jax.kernels import separable

  size, dilation, stride, channels, side = shape
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jax.numpy.asarray(rng.standard_normal(shape, np.float32), dtype)

  def forward(x, kernel, pointwise):
    given = [kernel], pointwise, [dilation], stride, way
    return separable.convolve(x, *given)

  def image(x, kernel, pointwise, g):
    return jax.vjp(lambda x: forward(x, kernel, pointwise), x)[1](g)

  def kernels(x, kernel, pointwise, g):
    return jax.vjp(lambda *own: forward(x, *own), kernel, pointwise)[1](g)

  operands = (
    draw(1, batch, side, side, channels),
    draw(edges, size, size, channels),
    draw(edges, channels, channels),
  )
  back = *operands, draw(edges, batch, *[-(-side // stride)] * 2, channels)
  pairs = (forward, operands), (image, back), (kernels, back)
  return dict(zip(PASSES, pairs, strict=True))


def seconds(run: Callable[[], Any], rounds: int, calls: int = 1) -> float:
  """Of a call: the median over rounds of so many, issued at once."""
  import jax

  times = []
  for _ in range(rounds + 1):  # the first warms up
    begun = time.perf_counter()
    jax.block_until_ready([run() for _ in range(calls)][-1])
    times.append((time.perf_counter() - begun) / calls)
  return statistics.median(times[1:])


def tried(measure: Callable[[], Any]) -> tuple[Any, str]:
  """What it measures, or None and why it fails."""
  import jax

  from sdnas_jax import errors

  try:
    return measure(), ''
  except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
    return None, errors.cut(str(error))


def convolutions(net: Any, batch: int, rounds: int) -> None:
  """Prints the first table."""
  import jax

  from sdnas_jax.kernels import choice

  def microseconds(f, operands):
    run = jax.jit(f).lower(*operands).compile()
    return 1e6 * seconds(lambda: run(*operands), rounds, CALLS)

  print(*(f'{name:>8}' for name in SHAPE), f'{"type":>8} {"way":<14}', end=' ')
  print(*(f'{name:>9}' for name in PASSES), ' us')
  for shape, edges in shapes(net).items():
    for dtype, bf16 in TYPES.items():
      for way in choice.ways(bf16):
        print(*(f'{n:>8}' for n in shape), f'{dtype:>8} {way:<14}', end=' ')
        timed = [
          tried(lambda own=own: microseconds(*own))
          for own in passes(way, shape, edges, batch, dtype).values()
        ]
        figures = ['-' if t is None else f'{t:.1f}' for t, _ in timed]
        print(*(f'{t:>9}' for t in figures), end='  ')
        print(*{why for _, why in timed if why}, flush=True)


def step(override: dict[str, Any], rounds: int) -> tuple[float, float]:
  """A search step's seconds, and GB that XLA sets aside for it."""
  import jax
  import numpy as np

  from sdnas_jax import parallel
  from sdnas_jax.steps import search

  state, halves, setup = search_step.assemble(search_step.Point(override))
  go = jax.jit(
    search.advance, donate_argnums=0, out_shardings=parallel.everywhere()
  )
  key = parallel.key(0)
  go = go.lower(state, key, *halves, np.int32(0), setup).compile()

  def run():
    nonlocal state
    stop = np.int32(state.step) + np.int32(1)
    state = go(state, key, *halves, stop, setup)
    return state

  planned = go.memory_analysis().temp_size_in_bytes
  return seconds(run, rounds), planned / 2**30


def steps(sizes: dict[str, Any], rounds: int) -> dict[str, dict[str, float]]:
  """Prints the second table; the seconds by type and way."""
  from sdnas_jax.kernels import choice

  found = {dtype: {} for dtype in TYPES}
  print(f'\n{"type":>8} {"way":<14} {"step":>9}     {"planned":>9}')
  for dtype, bf16 in TYPES.items():
    for way in choice.ways(bf16):
      print(f'{dtype:>8} {way:<14}', end=' ', flush=True)
      own = sizes | {'model.depthwise': way, 'model.bf16': bf16}
      figures, why = tried(lambda own=own: step(own, rounds))
      if figures is None:
        print(f'{"-":>9}  {why}')
        continue
      print('{:9.4f} s   {:9.3f} GB'.format(*figures))
      found[dtype][way] = figures[0]
  return found


def note(found: dict[str, dict[str, float]]) -> None:
  """Writes which way was fastest in each type, beside what is known."""
  import jax

  from sdnas_jax.kernels import choice
  from sdnas_jax.runs import artifacts

  best = {dtype: min(own, key=own.get) for dtype, own in found.items() if own}
  kind, known = jax.devices()[0].device_kind, choice.read()
  own = known.get(kind, {}) | best
  artifacts.write_json(choice.path(), known | {kind: own})
  told = ', '.join(f'{way} in {dtype}' for dtype, way in own.items())
  print(f"\n'auto' is {told} on {kind}: {choice.path()}")


def main(argv: Sequence[str] | None = None) -> None:
  args = search_step.sized(__doc__).parse_args(argv)
  sys.path.insert(0, str(ROOT))
  import jax

  from sdnas_jax import compilation
  from sdnas_jax import malloc
  from sdnas_jax.kernels import choice

  malloc.keep()
  compilation.keep()
  choice.path()  # without a folder for it, it ends here
  sizes = search_step.sizes(args)
  print(f'{jax.device_count()} x {jax.devices()[0].device_kind}')
  plain = search_step.Point(sizes | {'model.depthwise': 'grouped'})
  convolutions(search_step.assemble(plain)[2].net, args.batch, args.rounds)
  found = steps(sizes, args.rounds)
  note(found)
  print(json.dumps(found))


if __name__ == '__main__':
  main()

"""Times an alpha-Hessian's products and its spectrum, on random images.

  python benchmarks/alpha_hessian.py --layers=3
  python benchmarks/alpha_hessian.py --layers=3 --channels=4 --spectrum

A product is timed against a gradient, both of the validation loss with respect
to the alphas, in turns; with --spectrum, all 224 columns too, in blocks of 16
as a search takes them. The last line is JSON: `ratio`, the product's time to
the gradient's, `spectrum_ratio`, the spectrum's to that of 224 products, each
within a round.
"""

import json
import pathlib
import statistics
import sys
import time

import search_step

ROOT = pathlib.Path(__file__).parent.parent


def functions(view, batch):
  """The compiled gradient, product and spectrum, each of no arguments."""
  import jax
  from jax import flatten_util

  from sdnas_jax.analysis import hessian
  from sdnas_jax.tasks import measure

  def point(view, batch):
    x, unravel = flatten_util.ravel_pytree(view.at)
    return (lambda x: view.scores_at(batch, unravel(x))[0]), x

  def gradient(view, batch):
    loss, x = point(view, batch)
    return jax.grad(loss)(x)

  def product(view, batch, v):
    return hessian.product(*point(view, batch), v)

  def columns(view, batch, vectors):
    times, _ = hessian.linear(*point(view, batch))
    return jax.lax.map(times, vectors)

  unit = jax.numpy.eye(point(view, batch)[1].size)
  gradient = jax.jit(gradient).lower(view, batch).compile()
  product = jax.jit(product).lower(view, batch, unit[0]).compile()
  block = jax.jit(columns).lower(view, batch, unit[: measure.BLOCK]).compile()
  blocks = jax.numpy.split(unit, len(unit) // measure.BLOCK)
  return {
    'gradient': lambda: gradient(view, batch),
    'product': lambda: product(view, batch, unit[0]),
    'spectrum': lambda: [block(view, batch, vectors) for vectors in blocks],
  }


def main():
  parser = search_step.sized(__doc__)
  parser.add_argument('--spectrum', action='store_true')
  args = parser.parse_args()
  sys.path.insert(0, str(ROOT))
  import jax

  from configs import search_cifar
  from sdnas_jax import malloc
  from sdnas_jax.data import split
  from sdnas_jax.tasks import measure

  malloc.keep()
  point = search_step.Point(search_step.sizes(args), examples=args.batch)
  state, (_, valid), setup = search_step.assemble(point)
  rows = jax.numpy.arange(args.batch)
  batch = jax.jit(split.take, static_argnums=(2, 3))(
    valid, rows, setup.mean, setup.std
  )
  names = 'gradient', 'product', *(['spectrum'] if args.spectrum else [])
  times = {name: [] for name in names}
  probe = measure.probe(search_cifar.get_config().sharpness, 0.0)
  run = functions(measure.view(setup, state, valid, probe=probe), batch)
  for n in range(args.rounds + 1):  # the first warms up
    for name in times:
      begun = time.perf_counter()
      jax.block_until_ready(run[name]())
      if n:
        times[name].append(time.perf_counter() - begun)
        print(f'{name:<9} {times[name][-1]:8.3f} s', flush=True)
  result = {f'{k}_s': statistics.median(v) for k, v in times.items()}
  pairs = zip(times['product'], times['gradient'], strict=True)
  result['ratio'] = statistics.median(a / b for a, b in pairs)
  if args.spectrum:
    pairs = zip(times['spectrum'], times['product'], strict=True)
    result['spectrum_ratio'] = statistics.median(a / 224 / b for a, b in pairs)
  print(json.dumps({k: round(v, 3) for k, v in result.items()}))


if __name__ == '__main__':
  main()

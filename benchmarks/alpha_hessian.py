"""Times an alpha-Hessian-vector product against a gradient, on random images.

  python benchmarks/alpha_hessian.py --layers=3

Both are of the validation loss with respect to the alphas, in turns; the last
line is JSON, `ratio` the product's time to the gradient's within a round.
"""

import json
import pathlib
import statistics
import sys
import time

import search_step

ROOT = pathlib.Path(__file__).parent.parent


def functions(state, batch, setup):
  """The compiled gradient and product, each of no arguments."""
  import jax

  from sdnas_jax import search

  w, stats, mask = state.params['weights'], state.stats, state.mask
  alphas, key = state.params['alphas'], jax.random.key(0)

  def loss(alphas, w, stats, mask, batch):
    mix = setup.method.relax(key, alphas, mask, 0.0)
    logits, _ = search.forward(setup.net, w, stats, batch, mix)
    return search.cross_entropy(logits, batch)

  def product(alphas, v, *rest):
    # Reverse over reverse: the foreign functions have no forward mode.
    _, back = jax.vjp(lambda a: jax.grad(loss)(a, *rest), alphas)
    return back(v)[0]

  rest = w, stats, mask, batch
  v = jax.tree.map(jax.numpy.ones_like, alphas)
  gradient = jax.jit(jax.grad(loss)).lower(alphas, *rest).compile()
  product = jax.jit(product).lower(alphas, v, *rest).compile()
  return {
    'gradient': lambda: gradient(alphas, *rest),
    'product': lambda: product(alphas, v, *rest),
  }


def main():
  args = search_step.sized(__doc__).parse_args()
  sys.path.insert(0, str(ROOT))
  import jax

  from sdnas_jax import memory
  from sdnas_jax.data import split

  memory.keep()
  point = search_step.Point(search_step.sizes(args), examples=args.batch)
  state, (_, valid), setup = search_step.assemble(point)
  rows = jax.numpy.arange(args.batch)
  batch = jax.jit(split.take, static_argnums=(2, 3))(
    valid, rows, setup.mean, setup.std
  )
  times = {name: [] for name in ('gradient', 'product')}
  run = functions(state, batch, setup)
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
  print(json.dumps({k: round(v, 3) for k, v in result.items()}))


if __name__ == '__main__':
  main()

"""Evolution: the best path of a supernet, by its accuracy (Guo et al. 2020).

A generation has children of the best so far, by mutation and by crossover, and
random paths besides; the first has those alone. No path is looked at twice.
"""

import itertools

import jax
import numpy as np

from sdnas_jax import progress
from sdnas_jax.methods import method
from sdnas_jax.methods import paths

TRIES = 10  # draws for each new path; small spaces may have none left


def decided(
  arch, look, population, generations=1, mutation=0.1, top=10, logits=None
):
  """The revision by which the best path of all generations is left.

  Args:
    look: from a mix to its accuracy.
    mutation: the probability that one of a path's operations changes, and with
      it the edge, to one of its group.
    top: how many of the best have children.
    logits: of random paths, as `paths.drawn` takes them; none: all are alike.
  """
  if logits is None:
    logits = {kind: np.zeros_like(arch.alphas[kind]) for kind in arch.mask}
  draw = jax.jit(lambda key: paths.drawn(key, arch, logits))
  seed = int(arch.own['seed'])
  rng, keys, seen = np.random.default_rng((seed, 5)), itertools.count(), {}

  def fresh():
    key = jax.random.fold_in(jax.random.key(seed), next(keys))
    return jax.device_get(draw(key))

  def judge(make, count):
    """Looks at so many new ones, or fewer; says how many."""
    before = len(seen)
    for _ in range(TRIES * count):
      path = make()
      name = b''.join(p.tobytes() for p in path.values())
      if name not in seen:
        seen[name] = look(path), path
        best = max(accuracy for accuracy, _ in seen.values())
        shown.set_postfix_str(f'best {best:.1%}')
        shown.update()
      if len(seen) - before == count:
        break
    return len(seen) - before

  def children(best):
    def parent():
      return best[rng.integers(len(best))]

    made = judge(
      lambda: paths.mutated(rng, arch, parent(), mutation), population // 2
    )
    return made + judge(
      lambda: paths.crossed(rng, arch, parent(), parent()), population // 2
    )

  with progress.bar(population * generations, 'cell', delay=1.0) as shown:
    for generation in range(generations):
      made = children(ranked(seen)[:top]) if generation else 0
      judge(fresh, population - made)
  return method.Revision(arch=paths.decided(arch, ranked(seen)[0]))


def ranked(seen):
  """The paths, best first; of equal ones that seen first."""
  return [path for _, path in sorted(seen.values(), key=lambda one: -one[0])]

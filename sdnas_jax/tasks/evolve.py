"""Regularised evolution of trained cells (Real et al., AAAI 2019, algorithm 1).

The first candidates are random. Each later one is a child: of a few drawn from
the population, the last so many candidates, the best has a pair changed. None
is removed for being bad, all are for being old. Without children it is a random
search. What a child is depends on the errors before it, and on the seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdnas_jax.methods import paths
from sdnas_jax.spaces import space as spaces
from sdnas_jax.tasks import fields
from sdnas_jax.tasks import results
from sdnas_jax.tasks import search

# Of a `config.evolve`: candidates alive, of whom so many are drawn for a
# parent, and children.
FIELDS = {
  'population': (int, fields.SOME),
  'sample': (int, fields.SOME),
  'children': (int, range(1001)),
}
TRIES = 100


def random(space: spaces.Space, seed: int) -> Any:
  """A genotype whose edges and operations are uniform."""
  rng = np.random.default_rng(seed)
  mix = {
    kind: rng.random(space.shape) * space.alive(kind) for kind in space.kinds
  }
  return spaces.strongest(space, mix)


def child(
  population: Sequence[results.Run],
  space: spaces.Space,
  sample: int,
  seed: Sequence[int],
) -> Any:
  """The genotype of the next one, that no candidate alive has.

  Args:
    population: the candidates alive, all trained.
    sample: how many are drawn, with replacement.
    seed: of the evolution and of this child.
  """
  rng = np.random.default_rng(seed)
  drawn = rng.integers(len(population), size=sample)
  parent = results.best([population[n] for n in drawn]).genotype
  alive = [one.genotype for one in population]
  for _ in range(TRIES):
    found = mutant(rng, space, parent)
    if found not in alive:
      break
  return found


def mutant(rng: np.random.Generator, space: spaces.Space, genotype: Any) -> Any:
  """A genotype of which one pair has changed, its edge or its operation."""
  arch = paths.init(rng, search.SUPERNETS[space.genotype](space, 2), 0.0)
  path = spaces.hard(space, genotype)
  kind = space.kinds[rng.integers(len(space.kinds))]
  edge = rng.choice(np.flatnonzero(path[kind].any(axis=-1)))
  return spaces.strongest(space, paths.changed(rng, arch, path, kind, edge))

"""Networks of one operation an edge, drawn anew every so many steps.

Architectures have a `seed` among their own numbers, a table a cell, and the
cells' `numbers` in the network.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import method
from sdnas_jax.spaces import space as spaces


def own(rng, net):
  """The numbers that `drawn` and `genotype` ask for."""
  seed = np.int32(rng.integers(2**31))
  numbers = {kind: np.int32(n) for kind, n in net.numbers.items()}
  return {'seed': seed, 'numbers': numbers}


def begins(now, period):
  """Whether a step is the first with its paths; an epoch's first one is."""
  return now.step % period == 0


def drawn(arch, now, period):
  """Bool [cells, edges, operations]: one a row, of those alive."""
  key = jax.random.key(arch.own['seed'])
  for part in (now.epoch, now.step // period):
    key = jax.random.fold_in(key, part)
  noise = method.drawn(jax.random.uniform, key, arch.alphas)
  return {kind: best(noise[kind], m) for kind, m in arch.mask.items()}


def largest(arch):
  """The same of the largest alphas."""
  return {kind: best(arch.alphas[kind], m) for kind, m in arch.mask.items()}


def best(values, alive):
  """One of each row: the largest that is alive."""
  first = jnp.where(alive, values, -jnp.inf).argmax(axis=-1)
  return alive & jax.nn.one_hot(first, alive.shape[-1], dtype=bool)


def gates(arch, on):
  """The alphas there, else 0."""
  return {k: jnp.where(m, arch.alphas[k], 0) for k, m in on.items()}


def settle(key, before, after, now, period):
  """The alphas of what is not drawn stay."""
  on = drawn(before, now, period)
  moved = {k: jnp.where(m, after[k], before.alphas[k]) for k, m in on.items()}
  return after | moved


def absent(own, mix):
  """What is not drawn, whose weights stand still."""
  return {kind: mix[kind] == 0 for kind in own['numbers']}


def genotype(space, arch, mix):
  """DARTS's rule in each cell, of alphas of either sign."""
  cells = {}
  for kind, numbers in arch.own['numbers'].items():
    both = zip(numbers, arch.alphas[kind], arch.mask[kind], strict=True)
    for n, a, alive in both:
      above = np.where(alive, a - a.min() + 1, 0)
      cells[int(n)] = spaces.keep(space, above, 2)
  found = {f'cell{n}': cells[n] for n in sorted(cells)}
  return spaces.Genotype.of(space, found)

"""DARTS-PT: operations by what the supernet loses without them (Wang 2021).

After a search as any, a second stage decides: a random edge of each kind keeps
the operation whose removal costs the most accuracy, then nodes keep the two
edges whose removal does, with `interval` epochs of training after each. The
weights' optimiser is made anew, at a tenth of the rate; that of the alphas
goes on.
"""

import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods import method
from sdnas_jax.methods.method import Method
from sdnas_jax.methods.method import Revision
from sdnas_jax.spaces import space as spaces

EDGES = 2  # that a node keeps


def darts_pt(interval: int = 5, seed: int = 2, decide: bool = False) -> Method:
  """Decides every `interval` epochs of its second stage, in `seed`'s order."""
  if interval < 1:
    raise ValueError('interval must be at least 1')

  def revise(history, arch, look):
    done = len(history.metrics)
    due = done % interval == 0 or done == history.epochs - 1
    if not decide or done >= history.epochs or not due:
      return None
    for kind in arch.mask:
      arch = decided(kind, arch, look, seed)
    return Revision(arch=arch)

  return Method(
    init=init, revise=revise, stages=lambda space: stages(space, interval)
  )


def stages(space, interval):
  """The search, and the decisions."""
  nodes = len(pruned(space))
  # The last decision is before the last epoch, which the authors' code for
  # NAS-Bench-201 has one earlier.
  epochs = interval * (len(space.edges) + nodes - 1) + bool(nodes)
  return (
    {},
    {
      **{'options.decide': True, 'epochs': epochs},
      **{'weights.lr': 0.0025, 'weights.lr_min': 0.0025, 'distill.warmup': 0},
    },
  )


def pruned(space):
  """The nodes that lose edges; NAS-Bench-201's keep all."""
  if space.genotype is not spaces.Genotype:
    return []
  return [n for n in space.targets if len(space.entering(n)) > EDGES]


def init(rng, space, tables, scale):
  """DARTS's, without `none`, and where edges lead; nodes to prune are named."""
  arch = method.without_none(rng, space, tables, scale)
  own = {
    'targets': method.targets(space),
    'pruned': np.array(pruned(space), np.int32),
  }
  return arch._replace(own=own)


def decided(kind, arch, look, seed):
  """After one more decision of a kind, the last of which are its nodes'."""
  mix = {k: np.array(v) for k, v in archs.softmax(arch, None).items()}

  def without(rows, columns):
    less = mix[kind].copy()
    less[rows, columns] = 0
    return look(mix | {kind: less})

  alive, targets = arch.mask[kind].copy(), arch.own['targets']
  waiting = np.flatnonzero(alive.sum(axis=-1) > 1)
  if len(waiting):
    edge = drawn(arch, kind, waiting, seed)
    each = np.flatnonzero(alive[edge])
    worst = int(np.argmin([without(edge, o) for o in each]))
    alive[edge] = np.arange(alive.shape[1]) == each[worst]
  else:
    full = [
      node for node in arch.own['pruned']
      if alive[targets == node].any(axis=-1).sum() > EDGES
    ]  # fmt: skip
    if not full:
      return arch
    edges = np.flatnonzero(targets == drawn(arch, kind, np.array(full), seed))
    loss = [without(edge, slice(None)) for edge in edges]
    alive[edges[np.argsort(loss, kind='stable')[EDGES:]]] = False
  return arch._replace(mask=arch.mask | {kind: alive})


def drawn(arch, kind, among, seed):
  """One at random, by a generator that has drawn for all decisions before."""
  kinds, rng = list(arch.mask), np.random.RandomState(seed)
  edges, nodes = len(arch.own['targets']), len(arch.own['pruned'])
  sizes = [*range(edges, 0, -1), *range(nodes, 0, -1)]
  waiting = (arch.mask[kind].sum(axis=-1) > 1).any()
  made = sizes.index(len(among), 0 if waiting else edges)
  earlier = [size for size in sizes[:made] for _ in kinds]
  for size in (*earlier, *[sizes[made]] * kinds.index(kind)):
    rng.choice(size, size=1)
  return among[rng.choice(len(among), size=1)[0]]

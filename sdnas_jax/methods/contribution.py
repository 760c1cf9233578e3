"""What operations add: Shapley values, by random orders of their removal.

A player is an operation alive on an edge. In an order all are taken away, one
after another, and the value of each is what the accuracy then loses (Castro et
al. 2009); those after it has fallen below a share of what it was have 0. With v
the mean over orders less the deviation, the logits move by (Xiao et al. 2022)

  s <- mu s + (1 - mu) (v - mean v) / std v,   alpha <- alpha + eta s.
"""

import numpy as np

from sdnas_jax import progress
from sdnas_jax.methods import method


def init(rng, net, scale):
  """DARTS's without `none`, sums as small as the alphas, and a seed."""
  arch = method.without_none(rng, net, scale)
  sums = method.normal(rng, net, scale).alphas
  return arch._replace(
    own={'sums': sums, 'seed': rng.integers(2**31, dtype=np.int32)}
  )


def orders(rng, mask, samples):
  """Random orders of the players: [samples, players]."""
  count = sum(int(m.sum()) for m in mask.values())
  return np.stack([rng.permutation(count) for _ in range(samples)])


def table(mix, mask, orders, look, threshold, last=False):
  """What each player adds in each order: [players, orders].

  Args:
    mix: of which weights become 0; the others stay as they are.
    mask: the players, kind after kind and row after row.
    look: (mix, number of an order) -> accuracy.
    threshold: the share of an order's first accuracy below which it ends.
    last: whether an edge keeps its last operation.
  """
  names = [(k, *at) for k, m in mask.items() for at in np.argwhere(m)]
  values = np.zeros((len(names), len(orders)))
  with progress.bar(values.size, 'operation', delay=1.0) as shown:
    for n, order in enumerate(orders):
      left = {kind: np.array(p) for kind, p in mix.items()}
      first = before = look(left, n)
      for player in order:
        kind, edge, operation = names[player]
        alive = left[kind][edge][: mask[kind].shape[-1]] > 0
        if not last or alive.sum() > 1:
          left[kind][edge, operation] = 0
        now = look(left, n)
        values[player, n], before = before - now, now
        shown.update()
        if now < threshold * first:
          break
  return values


def pessimistic(values):
  """v: every player's mean, less its deviation."""
  return values.mean(axis=1) - values.std(axis=1)


def moved(arch, v, momentum, step):
  """The architecture after one estimate."""
  alphas, sums = dict(arch.alphas), dict(arch.own['sums'])
  own = np.split(v, np.cumsum([m.sum() for m in arch.mask.values()])[:-1])
  for (kind, mask), v in zip(arch.mask.items(), own, strict=True):
    deviation = v.std(ddof=1) or 1.0  # where all are equal, none moves
    share = np.zeros(mask.shape)
    share[mask] = (v - v.mean()) / deviation
    s = np.where(mask, momentum * sums[kind] + (1 - momentum) * share, 0.0)
    kept = sums[kind].dtype
    sums[kind] = s.astype(kept)
    alphas[kind] = (alphas[kind] + step * s).astype(kept)
  return arch._replace(alphas=alphas, own=arch.own | {'sums': sums})

"""Gates s = sigmoid(alpha), which of them close, and when (GOLD-NAS).

An operation's share is r = s / S, where S sums over all that enters its node;
it is open while that exceeds `least`. Tables are [..., edges, operations]. The
code that there is, not the authors', forgets S behind a node's first edge, so
that only there anything closes, and no search comes to its end.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from sdnas_jax.methods import costs
from sdnas_jax.methods import method
from sdnas_jax.spaces import space as spaces

CLOSED = 1e-8  # more than the share of what has closed
DROP = 1e4  # by which an alpha falls then


def shares(arch, least):
  """Of each kind: s, r, and how many are open in an operation's node."""
  together = arch.own['targets'][:, None] == arch.own['targets'][None]
  for kind, m in arch.mask.items():
    s = jnp.where(m, jax.nn.sigmoid(arch.alphas[kind]), 0)
    r = s / (s.sum(axis=-1) @ together)[..., None]
    yield kind, s, r, ((r > least).sum(axis=-1) @ together)[..., None]


def closed(s, targets, passes, least, most):
  """Rows (cell, edge, operation) of s [cells, ...], in the order of closing.

  In each pass those of shares up to `least`, which their node's sum loses at
  once, and of the others the one of the smallest, if that is at most `most`.
  """
  s, rows = s.copy(), []
  for _ in range(passes):
    sums = np.array([np.bincount(targets, c.sum(axis=-1)) for c in s])
    others = []
    for at in map(tuple, np.argwhere(s > 0).tolist()):
      node = at[0], targets[at[1]]
      r = s[at] / sums[node]
      if r > least:
        others.append((r, at))
      elif r > CLOSED:
        sums[node] -= s[at]
        s[at] = 0
        rows.append(at)
    r, at = min(others)
    if r <= most:
      s[at] = 0
      rows.append(at)
  return np.array(rows, int).reshape(-1, 3)


class Rule(NamedTuple):
  """When gates close, and what that costs; see `gold_nas`."""

  least: float
  most: float
  few: int
  lam: float
  factor: float
  flops: float

  @property
  def hosted(self):
    """What the host calls."""
    own = 'init', 'revise', 'discretize', 'refuse'
    return {name: getattr(self, name) for name in own}

  def init(self, rng: np.random.Generator, net: Any, scale: float) -> Any:
    """All alphas 0, whatever the scale; no price yet; costs in millions."""
    arch = method.without_none(rng, net, 0.0)
    own = {
      'lam': np.zeros(()),
      'step': np.array(self.lam),
      'cost': costs.tables(net),
      'base': np.array(costs.base(net)),
      'dead': {kind: np.zeros_like(m) for kind, m in arch.mask.items()},
      'targets': method.targets(net.space),
      'numbers': {k: np.int32(n) for k, n in net.numbers.items()},
    }
    return arch._replace(own=jax.tree.map(jnp.asarray, own))

  def close(self, arch):
    """The rows that close now, and what is left, of cells in their order."""
    own, targets = arch.own, np.asarray(arch.own['targets'])
    s = {
      kind: np.where(m, special.expit(np.float64(arch.alphas[kind])), 0)
      for kind, m in arch.mask.items()
    }
    s = stacked(s, own['numbers'])
    rows = closed(s, targets, self.few, self.least, self.most)
    s[tuple(rows.T)] = 0
    sums = np.array([np.bincount(targets, c.sum(axis=-1))[targets] for c in s])
    return rows, s > self.least * sums[..., None]

  def revise(self, history, arch, look):
    """After an epoch: closes, sets the next price, and may stop."""
    if not history.metrics:
      return None
    own = dict(arch.own)
    rows, left = self.close(arch)
    drop = np.zeros(left.shape, np.float32)
    drop[tuple(rows.T)] = DROP
    alphas = {
      kind: arch.alphas[kind] - drop[n] for kind, n in own['numbers'].items()
    }
    lam, step = float(own['lam']), self.factor * float(own['step'])
    lam += step
    if len(rows) >= self.few:
      lam, step = float(own['lam']) / self.factor, self.lam
    for name, value in {'lam': lam, 'step': step}.items():
      own[name] = np.asarray(value, own[name].dtype)
    cost = np.sum(stacked(own['cost'], own['numbers']), where=left)
    over = own['base'] + cost < self.flops
    stop = len(history.metrics) - 1 if over else None
    return method.Revision(arch._replace(alphas=alphas, own=own), stop=stop)

  def discretize(self, space, arch, mix):
    """What is left after this epoch: a graph a cell, any number a node."""
    _, left = self.close(arch)
    cells = {}
    for n, cell in enumerate(left):
      pairs = {node: [] for node in space.targets}
      for edge, o in np.argwhere(cell):
        source, node = space.edges[edge]
        pairs[node].append((space.primitives[o], source))
      cells[f'cell{n}'] = pairs
    return spaces.Genotype.of(space, cells)

  def refuse(self, space, fields):
    """Spaces of one cell, and those where all shares are small."""
    if space.genotype is not spaces.Genotype:
      return f'its cells differ, those of {space.name} do not: take darts'
    searched = sum(name != 'none' for name in space.primitives)
    most = searched * len(space.entering(space.targets[-1]))
    why = (
      f'alike operations of {space.name} have shares of 1/{most}, which '
      f'eta_max ({self.most}) closes: lower it, or set --config.space=gold'
    )
    return why if self.most * most >= 1 else ''


def stacked(tables, numbers):
  """[cells, ...] in the network's order, of tables for each kind."""
  order = np.argsort(np.concatenate([numbers[kind] for kind in tables]))
  return np.concatenate([*tables.values()])[order]

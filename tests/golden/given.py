"""What a method is given in a test: architectures, clocks, pasts."""

import jax.numpy as jnp
import numpy as np

from sdnas_jax.methods import arch as archs
from sdnas_jax.methods.method import History
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import supernet


def arch(alphas, mask=None, own=()):
  """An architecture, of which all is alive by default."""
  if mask is None:
    mask = {kind: np.ones(np.shape(a), bool) for kind, a in alphas.items()}
  return archs.Arch(alphas, mask, own)


def net(space):
  """A supernet, of which a method asks its space, cells and tables."""
  tabular = space.name == 'nasbench201'
  return (nasbench201 if tabular else supernet).Supernet(space, 10)


def now(epoch, epochs):
  """The start of an epoch."""
  return archs.Now(jnp.asarray(0), jnp.asarray(epoch), jnp.asarray(epochs))


def past(metrics, epochs, alphas=(), **rates):
  """A stage of which so many metrics are known."""
  rates = {name.replace('_', '.'): value for name, value in rates.items()}
  return History(metrics, [None] * len(metrics), dict(alphas), rates, epochs)


def numbers(space, graph):
  """[pairs, 2] operation and source node, node after node."""
  pairs = [pair for node in graph.nodes for pair in node]
  return np.array([(space.primitives.index(op), i) for op, i in pairs])


def listed(genotype):
  """As the pages' JSON strings have it."""
  found = {}
  for kind, graph in genotype.graphs.items():
    found[kind] = [[op, i] for node in graph.nodes for op, i in node]
    found[f'{kind}_concat'] = list(graph.outputs)
  return found

"""SGAS's criteria: which edge may be decided, by its weights p, `none` first.

Criterion 1 is importance times certainty, criterion 2 times stability besides,
each normalised over all edges.
"""

import math

import numpy as np
from scipy import special


def softmax(alphas):
  """Over the last axis."""
  return special.softmax(np.float64(alphas), axis=-1)


def importance(p):
  """S_EI: all weights but that of `none`, the first: equation 2."""
  return p[..., 1:].sum(axis=-1)


def certainty(p):
  """S_SC: 1 minus the normalised entropy of the others: equations 3 and 4."""
  q = others(p)
  return 1 + (q * np.log(q)).sum(axis=-1) / math.log(q.shape[-1])


def stability(p, before):
  """S_SS: the mean overlap with tables of the past: equation 6."""
  if not len(before):
    return np.zeros(len(p))
  overlap = np.minimum(others(softmax(before)), others(p))
  return overlap.sum(axis=-1).mean(axis=0)


def others(p):
  """The distribution over all operations but `none`."""
  return p[..., 1:] / importance(p)[..., None]


def score(p, before=None):
  """Of all edges; with the alphas of epochs before, criterion 2."""
  parts = [importance(p), certainty(p)]
  parts += [] if before is None else [stability(p, before)]
  return np.prod([normalised(part) for part in parts], axis=0)


def normalised(x):
  """To [0, 1] over all edges; 0 where they are equal."""
  span = x.max() - x.min()
  return (x - x.min()) / span if span else np.zeros_like(x)

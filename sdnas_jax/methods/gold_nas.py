"""GOLD-NAS: gates that close one after another (Bi et al. 2020, arXiv).

Each cell has its own: an edge is sum_o sigmoid(a_o) op_o of what is open, and
what once was not is 0 for good. The one loss has lambda sum_o log(1 + n r_o)
(1 + mu cost_o) besides, of n open in a node. After an epoch the weakest close;
if few, lambda rises, else it falls. Released code: see `closing`.
"""

from functools import partial

import jax.numpy as jnp

from sdnas_jax.methods import closing
from sdnas_jax.methods.method import Method


def gold_nas(
  eta_min: float = 0.01,
  eta_max: float = 0.05,
  few: int = 4,
  lam: float = 1e-5,
  factor: float = 2.0,
  mu: float = 0.0,
  min_flops: float = 240.0,
) -> Method:
  """Closes shares up to eta_max, stops below `min_flops` millions."""
  if not 0 < eta_min <= eta_max < 1 or few < 1 or factor <= 1:
    raise ValueError('take 0 < eta_min <= eta_max < 1, few >= 1, factor > 1')
  rule = closing.Rule(eta_min, eta_max, few, lam, factor, min_flops)
  return Method(
    relax=partial(relax, least=eta_min),
    penalty=partial(penalty, least=eta_min, mu=mu),
    remember=partial(remember, least=eta_min),
    turn='joint',
    model={'per_cell': True},
    needs={'alphas.optimizer': 'sgd'},
    **rule.hosted,
  )


def relax(arch, now, least):
  """s [cells, edges, operations] of what is open, and always was."""
  each, dead = closing.shares(arch, least), arch.own['dead']
  return {k: jnp.where((r > least) & ~dead[k], s, 0) for k, s, r, _ in each}


def remember(arch, now, least):
  """With what is closed in the next pass."""
  each, dead = closing.shares(arch, least), arch.own['dead']
  return arch.own | {'dead': {k: dead[k] | (r <= least) for k, _, r, _ in each}}


def penalty(arch, mix, now, least, mu):
  """lambda sum_o log(1 + n r_o) (1 + mu cost_o)."""
  total, cost = 0.0, arch.own['cost']
  for k, _, r, n in closing.shares(arch, least):
    price = jnp.where(r > least, jnp.log1p(n * r), 0)
    total += jnp.sum(price * (1 + mu * cost[k]))
  return arch.own['lam'] * total

"""SDARTS-ADV: weights trained under an attack (Chen and Hsieh, ICML 2020).

A weight step sees the softmax of the alphas moved to where the training loss is
higher, within a box that grows by the epoch. The attack sees the running
statistics, which here no alpha step writes, as the authors' do: so their attack
meets other statistics. `none` is not searched in DARTS's space.
"""

from functools import partial

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.methods import method
from sdnas_jax.methods import perturbation
from sdnas_jax.methods.method import Method


def sdarts_adv(
  first: float = 0.03, last: float = 0.3, steps: int = 7
) -> Method:
  """So many steps of projected gradient ascent, in SDARTS-RS's box."""
  attack = partial(perturb, first=first, last=last, steps=steps)
  return Method(perturb=attack, init=method.without_none)


def perturb(key, mix, loss, now, first, last, steps):
  """Equation 6; without effect where it lowers the loss."""
  eps = perturbation.radius(now, first, last)
  begun = perturbation.shifted(mix, perturbation.noise(key, mix, eps))
  found = lax.fori_loop(
    0, steps, lambda _, p: ascend(p, mix, loss, eps, 2 * eps / steps), begun
  )
  worse = loss(found, True) >= loss(mix, True)
  return jax.tree.map(lambda a, b: jnp.where(worse, a, b), found, mix)


def ascend(p, centre, loss, eps, size):
  """A step of the gradient's sign, back into the box, and renormalised."""
  grads = jax.grad(lambda p: loss(p, True))(p)
  moved = jax.tree.map(lambda p, g: p + size * jnp.sign(g), p, grads)
  step = jax.tree.map(lambda q, a: jnp.clip(q - a, -eps, eps), moved, centre)
  return perturbation.shifted(centre, step)

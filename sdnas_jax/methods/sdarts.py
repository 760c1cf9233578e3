"""SDARTS: weights trained under perturbed mixes (Chen and Hsieh, ICML 2020).

A weight step sees the softmax of the alphas with noise (RS) or moved to where
the training loss is higher (ADV), within a box that grows by the epoch. The
attack sees the running statistics, which here no alpha step writes, as the
authors' do: so their attack meets other statistics. `none` is not searched in
DARTS's space.
"""

from functools import partial

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.methods import method
from sdnas_jax.methods.method import Method

LEAST = 1e-30  # an operation's weight; at 0 it would be dead


def sdarts_rs(first: float = 0.03, last: float = 0.3) -> Method:
  """Uniform noise, in a box of half the width `first` to `last`."""
  noisy = partial(random, first=first, last=last)
  return Method(perturb=noisy, init=method.without_none)


def sdarts_adv(
  first: float = 0.03, last: float = 0.3, steps: int = 7
) -> Method:
  """An attack of so many steps of projected gradient ascent in that box."""
  attack = partial(adversarial, first=first, last=last, steps=steps)
  return Method(perturb=attack, init=method.without_none)


def radius(now, first, last):
  """Half the box's width in an epoch."""
  return first + (last - first) * now.epoch / now.epochs


def random(key, mix, loss, now, first, last):
  """Equation 5."""
  return shifted(mix, noise(key, mix, radius(now, first, last)))


def adversarial(key, mix, loss, now, first, last, steps):
  """Equation 6; without effect where it lowers the loss."""
  eps = radius(now, first, last)
  begun = shifted(mix, noise(key, mix, eps))
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
  return shifted(centre, step)


def noise(key, mix, eps):
  """U(-eps, eps) for every operation."""
  given = {'dtype': jnp.result_type(*mix.values()), 'minval': -eps}
  draw = partial(jax.random.uniform, maxval=eps, **given)
  return method.drawn(draw, key, mix)


def shifted(mix, by):
  """The mix moved, its rows made distributions again; what is dead stays so."""
  return {kind: renormalised(p + by[kind], p != 0) for kind, p in mix.items()}


def renormalised(p, alive):
  """Rows clipped to [0, 1] and divided by their sums, or one-hot where it is 0.

  Which may leave the box, as in the authors' code. What is clipped to 0 keeps
  `LEAST`, for at 0 the attack would not see what more of it does.
  """
  best = jnp.argmax(jnp.where(alive, p, -jnp.inf), axis=-1)
  p = jnp.where(alive, jnp.clip(p, 0, 1), 0)
  total = jnp.sum(p, axis=-1, keepdims=True)
  p = jnp.where(total == 0, jax.nn.one_hot(best, p.shape[-1]), p)
  p = p / jnp.where(total == 0, 1, total)
  return jnp.where(alive, jnp.maximum(p, LEAST), 0)

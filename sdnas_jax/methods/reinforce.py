"""REINFORCE: the gradient of an expected reward, by samples (Williams 1992)."""

import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.bilevel import hypergrad
from sdnas_jax.methods import paths


def reinforce(samples, problem, entropy, decay):
  """-mean_n (R_n - b) grad log pi(path_n), and the baseline b from now on.

  R is the accuracy on the valid minibatch, - `entropy` log pi.
  """
  arch, own = problem.arch, problem.arch.own
  drawn = jax.vmap(problem.draw)(jnp.arange(samples))
  seen = lax.map(lambda mix: problem.accuracy(problem.w, mix), drawn)

  def surprise(a):
    return jax.vmap(lambda mix: paths.log_prob(arch, a, mix))(drawn)

  log_prob, pull = jax.vjp(surprise, problem.a)
  reward = seen - entropy * log_prob
  (gradient,) = pull((own['baseline'] - reward) / samples)
  baseline = decay * own['baseline'] + (1 - decay) * reward.mean()
  return hypergrad.Learned(gradient, {**own, 'baseline': baseline})

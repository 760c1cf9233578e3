"""From alphas to mixing weights: (key, alphas, mask, t) -> mix."""

import jax
import jax.numpy as jnp


def softmax(
  key: jax.Array,
  alphas: dict[str, jax.Array],
  mask: dict[str, jax.Array],
  t: jax.Array,
) -> dict[str, jax.Array]:
  """DARTS's continuous relaxation (Liu et al. 2019, equation 2).

  Args:
    key: of the architecture's noise; softmax has none.
    alphas: [edges, primitives] logits for each kind of cell.
    mask: the same shapes, bool: which operations are alive.
    t: progress of the search, in [0, 1].

  Returns:
    [edges, primitives] weights for each kind of cell; each row sums to 1.
  """
  del key, t

  def one(alphas, alive):
    return jax.nn.softmax(jnp.where(alive, alphas, -jnp.inf), axis=-1)

  return jax.tree.map(one, alphas, mask)

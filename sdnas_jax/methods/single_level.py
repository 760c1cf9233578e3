"""Single level: DARTS whose alphas descend the weights' own loss.

Both groups move at once by one batch, as DARTS's section 3.3 tried against its
two levels (Liu et al. 2019). Nothing is held out: let `data.shared` search on
all images.
"""

from sdnas_jax.methods.method import Method


def single_level() -> Method:
  """DARTS's relaxation, on one level."""
  return Method(turn='joint')

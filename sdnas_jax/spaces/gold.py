"""The space of GOLD-NAS (Bi et al. 2020): DARTS's graph, two operations.

There any number of operations enters a node, and each cell is its own.
"""

from sdnas_jax.spaces import darts

SPACE = darts.SPACE._replace(
  name='gold', primitives=('skip_connect', 'sep_conv_3x3')
)

"""The DARTS space (Liu, Simonyan and Yang, ICLR 2019, section 3.1)."""

from sdnas_jax.spaces import space

SPACE = space.Space(
  name='darts',
  primitives=(
    'none',
    'max_pool_3x3',
    'avg_pool_3x3',
    'skip_connect',
    'sep_conv_3x3',
    'sep_conv_5x5',
    'dil_conv_3x3',
    'dil_conv_5x5',
  ),
)

SEVEN = SPACE._replace(name='darts7', primitives=SPACE.primitives[1:])
"""Without `none`, as SDARTS, DARTS-PT, FairDARTS and others search it."""

"""What may be searched, as data. No jax here."""

from sdnas_jax.spaces import darts

SPACES = {space.name: space for space in (darts.SPACE,)}

"""What may be searched, as data. No jax here."""

from sdnas_jax.spaces import darts
from sdnas_jax.spaces import gold
from sdnas_jax.spaces import nasbench201

SPACES = {
  space.name: space for space in (darts.SPACE, gold.SPACE, nasbench201.SPACE)
}

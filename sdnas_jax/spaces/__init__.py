"""What may be searched, as data. No jax here."""

from sdnas_jax.spaces import darts
from sdnas_jax.spaces import gold
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import robust

SPACES = {
  space.name: space
  for space in (
    *(darts.SPACE, darts.SEVEN, *robust.SPACES, gold.SPACE),
    nasbench201.SPACE,
  )
}

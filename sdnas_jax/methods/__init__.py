"""The search methods; a new one is a file here and a line below."""

from sdnas_jax.methods import darts
from sdnas_jax.methods import darts2
from sdnas_jax.methods import darts_es

METHODS = {
  'darts': darts.METHOD,
  'darts2': darts2.METHOD,
  'darts_es': darts_es.METHOD,
}

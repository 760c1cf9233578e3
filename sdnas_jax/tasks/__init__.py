"""What `launch.py` can run: from a config to files in a folder."""

from sdnas_jax.tasks import compare
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import search
from sdnas_jax.tasks import sharpness

TASKS = {
  'compare': compare,
  'evaluate': evaluate,
  'search': search,
  'sharpness': sharpness,
}

"""What `launch.py` can run: from a config to files in a folder."""

from sdnas_jax.tasks import ablation
from sdnas_jax.tasks import compare
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import report
from sdnas_jax.tasks import search
from sdnas_jax.tasks import sharpness

TASKS = {
  'ablation': ablation,
  'compare': compare,
  'evaluate': evaluate,
  'report': report,
  'search': search,
  'sharpness': sharpness,
}

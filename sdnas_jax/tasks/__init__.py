"""What `launch.py` can run: from a config to files in a folder."""

from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import report
from sdnas_jax.tasks import search
from sdnas_jax.tasks import study

TASKS = {
  **{'evaluate': evaluate, 'report': report},
  **{'search': search, 'study': study},
}

"""What `launch.py` can run: from a config to files in a folder."""

from sdnas_jax.tasks import search

TASKS = {'search': search}

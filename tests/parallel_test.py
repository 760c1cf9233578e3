"""One device against eight: the same images, validation, curvature, teachers.

`methods/contract_test.py` compares each method's step.
"""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np

from sdnas_jax import parallel
from sdnas_jax.steps import search
from sdnas_jax.steps import sharpness
from sdnas_jax.steps import totals
from tests import toys

SCRIPT = """
import sys
import tests.conftest
import jax
import numpy as np
from tests import parallel_test

assert jax.device_count() == 8
np.savez(sys.argv[1], **parallel_test.look())
"""


def look():
  """Varied images; the loss of the valid half, and how sharp it is.

  These two of batches that do not divide over the devices.
  """
  parts = toys.setup(batch_size=6)
  valid = parallel.replicate(toys.halves()[1])
  state = toys.state(parts)
  sums = jax.jit(search.validate)(state, valid, totals.zero(), 0, 3, parts)
  probe = sharpness.Probe('alphas', 'probe', 2, 4, 0.05, 1, 0.0)
  hard = {k: np.zeros(toys.SPACE.shape) for k in toys.SPACE.kinds}
  view = sharpness.View(state, np.uint32(0), valid, parts, probe)
  measure = jax.jit(sharpness.measure, out_shardings=parallel.everywhere())
  found = measure(view, hard)
  # As many as there are devices, else those that pad have draws too.
  varied = toys.setup(augment=toys.VARIED, batch_size=8)
  batch = jax.jit(search.alpha_batch)(jax.random.key(0), 0, valid, varied)
  return {
    'images': batch.image,
    'valid': sums.loss,
    'eigenvalue': found.dominant_eigenvalue,
    'sharpness': found.sharpness,
    **{f'taught {name}': taught(name) for name in ('mesa', 'mean_teacher')},
  }


def taught(name):
  """The average of the weights after two steps, on every device alike."""
  parts = toys.setup(layers=1, augment=toys.VARIED, teacher=name, decay=0.6)
  run = jax.jit(search.advance, out_shardings=parallel.everywhere())
  halves = parallel.replicate(toys.halves())
  end = run(toys.state(parts), jax.random.key(0), *halves, 2, parts)
  leaves = jax.tree.leaves((end.memory, end.sums.distill))
  assert all(leaf.sharding.is_fully_replicated for leaf in leaves)
  return np.concatenate([np.ravel(leaf) for leaf in leaves])


def test_eight_devices_compute_what_one_does(tmp_path):
  path = tmp_path / 'eight.npz'
  flags = '--xla_force_host_platform_device_count=8'
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(path)],
    cwd=pathlib.Path(__file__).parent.parent,
    env={**os.environ, 'XLA_FLAGS': f'{os.environ["XLA_FLAGS"]} {flags}'},
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert done.returncode == 0, done.stderr
  eight = np.load(path)
  for name, one in look().items():
    scale = np.abs(one).max()
    np.testing.assert_allclose(
      eight[name], one, rtol=1e-3, atol=1e-4 * scale + 1e-7
    )

"""One device against eight: the same losses, gradients and curvature."""

import os
import pathlib
import subprocess
import sys

import numpy as np

# The optimisers' first moments after one step are the gradients themselves.
SCRIPT = """
import sys
import tests.conftest
import jax, numpy as np
from sdnas_jax import totals
from sdnas_jax import parallel, search, sharpness
from tests import toys

out = {}
for method in ('darts2', 'gdas', 'snas', 'sdarts_adv'):
  parts = toys.setup(method, batch_size=8)
  data = [parallel.replicate(half) for half in toys.halves()]
  state = toys.state(parts)
  run = jax.jit(search.advance, out_shardings=parallel.everywhere())
  state = run(state, jax.random.key(0), *data, np.int32(1), parts)
  trace = state.opt.inner_states['weights'].inner_state[2].trace
  moments = state.opt.inner_states['alphas'].inner_state[2].mu, trace
  for n, leaf in enumerate(jax.tree.leaves(moments)):
    out[f'{method}{n}'] = leaf
  out[method] = state.sums.loss
  out[f'{method}_ring'] = state.memory.probs
  if method == 'darts2':
    validate = jax.jit(search.validate)
    sums = validate(state, data[1], totals.zero(), 0, 3, parts)
    out['valid'] = sums.loss
    probe = sharpness.Probe('alphas', 'probe', 2, 4, 0.05, 1, 0.0)
    hard = {k: np.zeros(toys.SPACE.shape) for k in toys.SPACE.kinds}
    found = jax.jit(sharpness.measure, out_shardings=parallel.everywhere())(
      sharpness.View(state, np.uint32(0), data[1], parts, probe), hard)
    out['eigenvalue'] = found.dominant_eigenvalue
    out['sharpness'] = found.sharpness
print(jax.device_count(), 'devices')
np.savez(sys.argv[1], **out)
"""
ROOT = pathlib.Path(__file__).parent.parent


def run(devices, path):
  flags = f'--xla_force_host_platform_device_count={devices}'
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(path)],
    cwd=ROOT,
    env={**os.environ, 'XLA_FLAGS': f'{os.environ["XLA_FLAGS"]} {flags}'},
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert f'{devices} devices' in done.stdout, done.stderr
  return np.load(path)


def test_eight_devices_compute_what_one_does(tmp_path):
  one, eight = run(1, tmp_path / 'one.npz'), run(8, tmp_path / 'eight.npz')
  assert len(one.files) > 20 and one.files == eight.files
  for name in one.files:
    scale = np.abs(one[name]).max()
    np.testing.assert_allclose(
      eight[name], one[name], rtol=1e-3, atol=1e-4 * scale + 1e-7
    )

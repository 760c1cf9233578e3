"""Two processes, joined as two hosts are, against one that works alone."""

import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np

from tests import launch_test

# The real command, on a space that compiles in seconds.
SCRIPT = """
import sys
from sdnas_jax import launch
from sdnas_jax.spaces import SPACES
from tests import toys
SPACES['toy'] = toys.SPACE
sys.exit(launch.main(sys.argv))
"""


def start(environment, workdir):
  flags = *launch_test.TINY, '--config.space=toy', f'--workdir={workdir}'
  return subprocess.Popen(
    [sys.executable, '-c', SCRIPT, *flags],
    cwd=launch_test.ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def pair(environment, workdir):
  """Starts the same command twice, on one folder."""
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    address = f'localhost:{probe.getsockname()[1]}'
  cluster = {'JAX_COORDINATOR_ADDRESS': address, 'JAX_NUM_PROCESSES': '2'}
  return [
    start({**environment, **cluster, 'JAX_PROCESS_ID': str(n)}, workdir)
    for n in range(2)
  ]


def ends(processes):
  """What each wrote, once all have ended: (stdout, stderr), and exit codes."""
  try:
    texts = [process.communicate(timeout=400) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return texts, [process.returncode for process in processes]


def test_two_hosts_stop_as_one_and_find_what_one_does(tmp_path):
  alone, shared = tmp_path / 'alone', tmp_path / 'shared'
  environment = {**os.environ}
  processes = pair(environment, shared)
  whole = start(environment, alone)
  launch_test.wait_for_row(processes[0], shared, 1)
  processes[1].send_signal(signal.SIGTERM)
  texts, codes = ends(processes)
  assert codes == [128 + signal.SIGTERM] * 2, texts
  stops = [re.search(r'stopped at step \d+', error)[0] for _, error in texts]
  assert stops[0] == stops[1]

  texts, codes = ends(pair(environment, shared))
  assert codes == [0, 0], texts
  assert 'resuming' in texts[0][0] and 'epoch 3/3' in texts[0][0]
  assert not re.search('epoch|cell', ''.join(texts[1]))  # one speaks ...
  written = {path.name for path in shared.iterdir()}
  assert len(list((shared / 'tensorboard').iterdir())) == 2  # ... and writes

  texts, codes = ends([whole])
  assert codes == [0], texts
  assert written == {path.name for path in alone.iterdir()}
  ours, theirs = launch_test.rows(shared), launch_test.rows(alone)
  assert [row['epoch'] for row in ours] == ['0', '1', '2']
  for one, two in zip(theirs, ours, strict=True):
    for name in one.keys() - {'loss_drop'}:  # a difference, of few digits
      # Sums over a batch round otherwise in two parts, which six updates
      # carry on; a batch or rate of another size would show in two digits.
      np.testing.assert_allclose(float(two[name]), float(one[name]), rtol=1e-4)

"""The real `launch.py` training on ImageNet's form, from TFDS's mock data."""

import functools
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from sdnas_jax import tf
from sdnas_jax.data import sources
from sdnas_jax.tasks import evaluate as task
from tests import launch_test
from tests.tasks import evaluate_test

# TFDS's mock has no sizes of its own; its images are of any size and colour.
SCRIPT = """
import functools
import sys
from sdnas_jax import launch
from sdnas_jax import tf
from sdnas_jax.data import sources
tf.prepare()
import tensorflow_datasets as tfds
name = 'imagenet2012'
sources.SOURCES[name] = functools.partial(sources.imagenet, name, 1000, 21, 21)
with tfds.testing.mock_data(num_examples=21):
  sys.exit(launch.main(sys.argv))
"""


def flags(workdir, genotype):
  return (
    '--config=configs/evaluate_imagenet.py',
    '--config.weights.warmup=2',
    '--config.data.dir=/nowhere',
    '--config.batch_size=8',
    '--config.epochs=3',
    '--config.model.layers=1',
    '--config.model.channels=4',
    '--config.steps_per_call=1',
    f'--config.genotype={genotype}',
    f'--workdir={workdir}',
  )


def start(environment, workdir, genotype):
  return subprocess.Popen(
    [sys.executable, '-uc', SCRIPT, *flags(workdir, genotype)],
    cwd=launch_test.ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.fixture(scope='module')
def environment():
  return {**os.environ}


def mocked(monkeypatch):
  """The same as in the script, for this process."""
  name = 'imagenet2012'
  own = functools.partial(sources.imagenet, name, 1000, 21, 21)
  monkeypatch.setitem(sources.SOURCES, name, own)
  tf.prepare()
  import tensorflow_datasets as tfds

  return tfds.testing.mock_data(num_examples=21)


def test_a_stream_trains_stops_and_goes_on_as_if_it_had_not(
  here, environment, tmp_path, monkeypatch
):
  genotype = tmp_path / 'mine.json'
  genotype.write_text(json.dumps(evaluate_test.CELL))
  whole, parted = tmp_path / 'whole', tmp_path / 'parted'
  process = start(environment, parted, genotype)
  launch_test.wait_for_row(process, parted, 1)
  process.send_signal(signal.SIGINT)
  _, error = process.communicate(timeout=300)
  assert process.returncode == 130 and 'stopped at step' in error, error
  with mocked(monkeypatch):
    for workdir in (parted, whole):
      code, _, error = here(*flags(workdir, genotype))
      assert code == 0, error

  assert launch_test.rows(parted) == launch_test.rows(whole)
  one, two = (task.load(path)[1] for path in (parted, whole))
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert one['params']['auxiliary']
  assert (whole / 'network.stablehlo').stat().st_size > 0
  losses = [float(row['train_loss']) for row in launch_test.rows(whole)]
  assert losses[-1] < losses[0]  # the same 21 images again and again

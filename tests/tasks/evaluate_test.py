"""The real `launch.py` training a tiny derived network on the digits.

In subprocesses where the process itself counts, otherwise by its `main`.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.data import augment
from sdnas_jax.data import dataset
from sdnas_jax.data import sources
from sdnas_jax.data import split
from sdnas_jax.networks import sizing
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import export
from sdnas_jax.runs import locks
from sdnas_jax.spaces import published
from sdnas_jax.tasks import evaluate as task
from sdnas_jax.tasks import export as exporting
from tests import launch_test
from tests import torture

# Nodes of one, two, no and three pairs, and two operations of one edge. With
# two layers both cells are reductions.
CELL = {
  'space': 'darts',
  'normal': {'2': [['sep_conv_3x3', 0]]},
  'normal_concat': [2],
  'reduce': {
    '2': [['max_pool_3x3', 0]],
    '3': [['sep_conv_3x3', 1], ['skip_connect', 1]],
    '4': [],
    '5': [['skip_connect', 2], ['avg_pool_3x3', 3], ['max_pool_3x3', 4]],
  },
  'reduce_concat': [3, 5],
}
# In a process that does not know this package.
APART = """
import json, pathlib, sys
from jax import export
import numpy as np
images, network = np.load(sys.argv[1]), pathlib.Path(sys.argv[2])
logits = export.deserialize(network.read_bytes()).call(images)
assert 'sdnas_jax' not in sys.modules
print(json.dumps(np.asarray(logits).tolist()))
"""


def flags(workdir, genotype, *more):
  tiny = (
    '--config=configs/evaluate_digits.py',
    '--config.data.examples=60',
    '--config.data.holdout=20',
    '--config.batch_size=16',
    '--config.epochs=3',
    '--config.model.layers=2',
    '--config.model.channels=2',
    '--config.weights.drop_path=0.2',
    '--config.steps_per_call=1',
  )
  own = f'--workdir={workdir}', f'--config.genotype={genotype}'
  return *tiny, *own, *more


def start(environment, workdir, genotype):
  return subprocess.Popen(
    [sys.executable, '-u', 'launch.py', *flags(workdir, genotype)],
    cwd=launch_test.ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.fixture(scope='module')
def environment():
  return {**os.environ, 'COLUMNS': '80'}


@pytest.fixture(scope='module')
def genotype(tmp_path_factory):
  path = tmp_path_factory.mktemp('genotype') / 'mine.json'
  path.write_text(json.dumps(CELL))
  return path


@pytest.fixture(scope='module')
def whole(environment, genotype, tmp_path_factory):
  """A run never stopped."""
  workdir = tmp_path_factory.mktemp('whole')
  process = start(environment, workdir, genotype)
  out, error = process.communicate(timeout=400)
  assert process.returncode == 0, error
  return workdir, out


def test_a_run_writes_all_it_promises(whole):
  workdir, out = whole
  table = launch_test.rows(workdir)
  assert [row['epoch'] for row in table] == ['0', '1', '2']
  result = json.loads((workdir / 'result.json').read_text())
  assert result['test_error'] == float(table[-1]['test_error'])
  assert result['test_error_top5'] <= result['test_error']
  assert result['genotype'] == json.loads(
    (workdir / 'genotype.json').read_text()
  )
  assert result['genotype'] == CELL
  assert (result['epochs'], result['seed']) == (3, 0)
  assert result['seconds'] > 0 and result['macs'] > 0
  assert (workdir / 'curves.png').read_bytes().startswith(b'\x89PNG')
  assert list((workdir / 'tensorboard').iterdir())
  lines = out.splitlines()
  assert max(map(len, lines)) <= 80
  assert sum(line.startswith('epoch ') for line in lines) == 3
  assert f'{result["parameters"]:,} parameters' in out


def test_a_checkpoint_reloaded_has_the_same_error_to_the_last_digit(whole):
  workdir, _ = whole
  net, variables = task.load(workdir)
  source = sources.find('digits', '')
  images, labels = dataset.load(source, 60)
  test = parallel.replicate(split.Split(images[40:], labels[40:]))
  x = augment.normalize(test.images, source.mean, source.std)
  logits = net.apply(variables, x)
  right = np.argmax(logits, axis=-1) == labels[40:]
  result = json.loads((workdir / 'result.json').read_text())
  assert result['test_error'] == 1 - float(np.float32(right.sum())) / 20


def test_a_network_is_loaded_without_its_data(whole, monkeypatch):
  """As when their file is gone, or was named from another folder."""
  monkeypatch.setattr(sources, 'find', None)
  net, variables = task.load(whole[0])
  assert net.classes == 10
  assert sizing.size(variables['params']) > 500


def test_an_export_that_fails_loses_nothing(whole, here, genotype, monkeypatch):
  def fail(*args):
    raise OSError('no room')

  (whole[0] / 'network.stablehlo').unlink()
  before = (whole[0] / 'result.json').read_bytes()
  (whole[0] / 'result.json').unlink()
  monkeypatch.setattr(task.export, 'stablehlo', fail)
  code, _, error = here(*flags(whole[0], genotype))
  assert code == 1 and 'no room' in error
  assert (whole[0] / 'result.json').read_bytes() == before
  assert artifacts.broken(whole[0]) == ['network.stablehlo']  # not forgotten
  monkeypatch.undo()
  code, _, error = here(*flags(whole[0], genotype))
  assert code == 0 and (whole[0] / 'network.stablehlo').exists()


def test_an_export_s_bytes_follow_from_the_network_alone(whole):
  """Not from the lines of the program that it was called by."""
  net, variables = task.load(whole[0])
  source = sources.find('digits', '')
  first = export.stablehlo(net, variables, source)
  again = (lambda: export.stablehlo(net, variables, source))()
  assert first == again == (whole[0] / 'network.stablehlo').read_bytes()


def test_the_exported_network_runs_without_this_package(whole, tmp_path):
  workdir, _ = whole
  images, _ = dataset.load(sources.find('digits', ''), 7)
  np.save(tmp_path / 'images.npy', images)
  done = subprocess.run(
    [
      *(sys.executable, '-c', APART, str(tmp_path / 'images.npy')),
      str(workdir / 'network.stablehlo'),
    ],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  net, variables = task.load(workdir)
  source = sources.find('digits', '')
  x = augment.normalize(images, source.mean, source.std)
  expected = net.apply(variables, x)
  np.testing.assert_allclose(
    json.loads(done.stdout), expected, rtol=1e-3, atol=1e-4
  )


def test_the_command_exports_a_run(whole, tmp_path, capsys):
  onnxruntime = pytest.importorskip('onnxruntime')
  (workdir, _), out = whole, tmp_path / 'network.onnx'
  assert exporting.main([str(workdir), f'--out={out}']) == 0
  assert f'{out.stat().st_size:,} bytes' in capsys.readouterr().out
  images, _ = dataset.load(sources.find('digits', ''), 7)
  session = onnxruntime.InferenceSession(out)
  (logits,) = session.run(None, {'images': images})
  network = (workdir / 'network.stablehlo').read_bytes()
  expected = jax.export.deserialize(network).call(images)
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
  'name, says',
  [
    ('weights.npz', 'two inputs that are not none'),
    ('weights.pth', "unknown ending '.pth'"),
    ('nowhere/network.stablehlo', 'there is no folder'),
  ],
)
def test_what_is_not_exported_is_a_sentence(
  whole, tmp_path, capsys, name, says
):
  assert exporting.main([str(whole[0]), f'--out={tmp_path / name}']) == 2
  assert says in capsys.readouterr().err
  assert exporting.main([str(tmp_path), f'--out={tmp_path / "a.npz"}']) == 2
  assert 'holds no trained network' in capsys.readouterr().err


def test_a_run_is_a_genotype(whole):
  workdir, _ = whole
  found = published.find(str(workdir / 'genotype.json'))
  assert published.find(str(workdir)) == found
  assert published.find(str(workdir / 'result.json')) == found
  copies = published.find(json.dumps(found.fields)), published.read(CELL)
  assert copies == (found, found)


def test_stopped_and_resumed_is_bit_identical(
  whole, here, environment, genotype, tmp_path
):
  process = start(environment, tmp_path, genotype)
  launch_test.wait_for_row(process, tmp_path, 1)
  process.send_signal(signal.SIGINT)
  _, error = process.communicate(timeout=300)
  assert process.returncode == 130 and 'stopped at step' in error
  code, out, error = here(*flags(tmp_path, genotype))
  assert code == 0 and 'resuming' in out, error
  assert launch_test.rows(tmp_path) == launch_test.rows(whole[0])
  one, two = (task.load(path)[1] for path in (tmp_path, whole[0]))
  jax.tree.map(np.testing.assert_array_equal, one, two)


def test_another_genotype_in_the_file_is_refused(whole, here, genotype):
  other = {**CELL, 'normal': {'2': [['sep_conv_5x5', 0]]}}
  was = genotype.read_text()
  genotype.write_text(json.dumps(other))
  try:
    code, _, error = here(*flags(whole[0], genotype))
  finally:
    genotype.write_text(was)
  assert code == 2
  assert 'trains another genotype' in error


def test_a_finished_run_says_so_and_changes_nothing(whole, here, genotype):
  workdir, out = whole
  before = (workdir / 'result.json').read_text()
  code, again, error = here(*flags(workdir, genotype))
  assert code == 0 and 'compiling' not in again, error
  assert 'all epochs are done' in again
  assert (workdir / 'result.json').read_text() == before
  assert re.search('test error.*', out)[0] in again


@pytest.fixture
def copied(whole, tmp_path):
  """The run in another folder of its name, which its report tells."""
  return shutil.copytree(whole[0], tmp_path / whole[0].name)


@pytest.mark.parametrize('way', torture.DAMAGES)
def test_what_was_damaged_is_made_again(whole, copied, here, genotype, way):
  for name in (
    *('genotype.json', 'result.json', 'curves.png', 'network.stablehlo'),
    'report.html',
  ):
    torture.spoil(copied / name, way, np.random.default_rng(0))
  code, _, error = here(*flags(copied, genotype))
  assert code == 0, error
  assert torture.contents(copied) == torture.contents(whole[0])


def test_what_cannot_be_made_again_is_named(copied, here, genotype):
  text = (copied / 'metrics.csv').read_text()
  (copied / 'metrics.csv').write_text(text.replace('0.', '1.', 1))
  before = torture.contents(copied)
  code, _, error = here(*flags(copied, genotype))
  assert code == 2 and 'metrics.csv was changed' in error
  assert torture.contents(copied) == before


def test_a_second_process_touches_nothing(copied, here, genotype):
  (copied / 'result.json').unlink()
  before = torture.contents(copied)
  with locks.alone(copied):
    code, _, error = here(*flags(copied, genotype))
  assert code == 2 and 'another process is at the run' in error
  assert len(error.splitlines()) == 1
  assert torture.contents(copied) == before


def test_dry_run_of_the_paper_s_network_needs_no_data(
  here, tmp_path, monkeypatch
):
  monkeypatch.setenv('TFDS_DATA_DIR', '/nowhere')
  config = '--config=configs/evaluate_cifar.py'
  code, _, error = here(config, '--dry_run', f'--workdir={tmp_path}')
  assert code == 0, error
  plan = json.loads((tmp_path / 'plan.json').read_text())
  assert plan['parameters'] == 3349342
  assert round(plan['macs'] / 1e6, 1) == 528.4
  assert plan['steps_per_epoch'] == 521


@pytest.mark.parametrize(
  'flag, says',
  [
    ('--config.data.holdout=0', 'has no test images of its own'),
    ('--config.data.holdout=60', 'larger than the training data'),
    ('--config.weights.auxiliary=0.4', 'too small for the auxiliary head'),
    ('--config.genotype=DARTS_V3', 'did you mean DARTS_V'),
    ('--config.weights.smoothing=1.5', 'must be in'),
  ],
)
def test_bad_input(here, genotype, tmp_path, flag, says):
  code, _, error = here(*flags(tmp_path / 'new', genotype, flag))
  assert code == 2 and says in error, error
  assert not (tmp_path / 'new').exists()


def test_a_folder_without_a_training_cannot_be_loaded(tmp_path):
  with pytest.raises(errors.BadInput, match='holds no trained network'):
    task.load(pathlib.Path(tmp_path))
  record = {'config': {'task': 'search'}, 'data': {}}
  (tmp_path / 'config.json').write_text(json.dumps(record))
  with pytest.raises(errors.BadInput, match="is of the task 'search'"):
    task.load(tmp_path)

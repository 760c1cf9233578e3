"""The real `launch.py` on a tiny search of the digits.

In subprocesses where the process itself counts, otherwise by its `main`.
"""

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
TINY = (
  '--config=configs/search_digits.py',
  '--config.data.examples=56',
  '--config.batch_size=16',
  '--config.epochs=3',
  '--config.distill.warmup=1',
  '--config.model.layers=1',
  '--config.model.channels=2',
  '--config.steps_per_call=1',
)


@pytest.fixture(scope='module')
def environment():
  return {**os.environ, 'COLUMNS': '80'}


def launch(environment, workdir):
  return subprocess.run(
    [sys.executable, 'launch.py', *TINY, f'--workdir={workdir}'],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=400,
  )


def start(environment, workdir):
  return subprocess.Popen(
    [sys.executable, '-u', 'launch.py', *TINY, f'--workdir={workdir}'],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_for_row(process, workdir, epochs):
  """Until the run has recorded so many epochs."""
  path, limit = workdir / 'metrics.csv', time.monotonic() + 300
  while time.monotonic() < limit and process.poll() is None:
    if path.exists() and len(path.read_text().splitlines()) > epochs:
      return
    time.sleep(0.01)
  raise AssertionError(process.communicate())


@pytest.fixture(scope='module')
def whole(environment, tmp_path_factory):
  """A run never stopped."""
  workdir = tmp_path_factory.mktemp('whole')
  done = launch(environment, workdir)
  assert done.returncode == 0, done.stderr
  return workdir, done


def rows(workdir):
  with (workdir / 'metrics.csv').open() as file:
    return [
      {k: v for k, v in row.items() if 'second' not in k}
      for row in csv.DictReader(file)
    ]


def same(one, two):
  assert rows(one) == rows(two)
  with np.load(one / 'alphas.npz') as a, np.load(two / 'alphas.npz') as b:
    assert sorted(a.files) == sorted(b.files)
    for name in a.files:
      np.testing.assert_array_equal(a[name], b[name])
  genotypes = [(w / 'genotype.json').read_text() for w in (one, two)]
  assert genotypes[0] == genotypes[1]


def test_a_run_writes_all_it_promises(whole):
  workdir, done = whole
  table = rows(workdir)
  assert [row['epoch'] for row in table] == ['0', '1', '2']
  assert float(table[0]['distill_loss']) == 0
  assert all(float(row['distill_loss']) > 0 for row in table[1:])
  for row in table:
    assert 0 <= float(row['valid_accuracy']) <= 1
    assert float(row['train_loss']) > 0
  config = json.loads((workdir / 'config.json').read_text())
  assert config['config']['distill']['teachers'] == 2
  assert config['versions']['jax'] and config['devices']
  found = json.loads((workdir / 'genotype.json').read_text())
  assert found['space'] == 'darts' and found['normal_concat'] == [2, 3, 4, 5]
  assert len(found['normal']) == len(found['reduce']) == 8
  with np.load(workdir / 'alphas.npz') as file:
    assert file['normal'].shape == file['reduce'].shape == (3, 14, 8)
    assert file['epoch'].tolist() == [0, 1, 2]
  for kind in ('normal', 'reduce'):
    drawing = (workdir / f'{kind}.svg').read_text()
    for name, _ in found[kind]:
      assert name in drawing
  assert (workdir / 'alphas.png').read_bytes().startswith(b'\x89PNG')
  assert list((workdir / 'tensorboard').iterdir())
  lines = done.stdout.splitlines()
  assert max(map(len, lines)) <= 80
  assert sum(line.startswith('epoch ') for line in lines) == 3
  assert 'Total: ' in done.stdout and str(workdir) in done.stdout


def test_a_finished_run_says_so_and_changes_nothing(whole, here):
  workdir, _ = whole
  before = (workdir / 'metrics.csv').read_bytes()
  code, out, error = here(*TINY, f'--workdir={workdir}')
  assert code == 0, error
  assert (workdir / 'metrics.csv').read_bytes() == before
  assert 'normal cell' in out


def test_killed_and_resumed_is_bit_identical(
  whole, here, environment, tmp_path
):
  process = start(environment, tmp_path)
  wait_for_row(process, tmp_path, 2)
  process.kill()
  process.communicate()
  assert len(rows(tmp_path)) < 3
  code, out, error = here(*TINY, f'--workdir={tmp_path}')
  assert code == 0, error
  assert 'resuming' in out
  same(whole[0], tmp_path)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_within_the_epoch(
  whole, here, environment, tmp_path, number
):
  process = start(environment, tmp_path)
  wait_for_row(process, tmp_path, 1)
  process.send_signal(number)
  _, stderr = process.communicate()
  assert process.returncode == 128 + number, stderr
  assert 'Traceback' not in stderr and 'same command' in stderr
  if number == signal.SIGTERM:
    return  # what it saved is what SIGINT saves
  code, _, error = here(*TINY, f'--workdir={tmp_path}')
  assert code == 0, error
  same(whole[0], tmp_path)


def test_a_lost_loss_stops_the_run_and_keeps_the_last_checkpoint(
  here, tmp_path
):
  flags = f'--workdir={tmp_path}', '--config.weights.lr=1e38'
  code, _, error = here(*TINY, *flags)
  assert code == 1
  assert re.search(r'not finite|no longer finite at step \d', error)
  assert 'Traceback' not in error


@pytest.mark.parametrize(
  'flag, says',
  [
    ('--config.distill.teachrs=3', 'did you mean distill.teachers'),
    ('--config.distill.teacher=3', 'ema, lag, mean_teacher, mesa, window'),
    ('--config.options.tau=3', 'darts has no options'),
    ('--config.method=dart', 'did you mean darts'),
    ('--config.epochs=many', 'epochs'),
    ('--nonsense', 'nonsense'),
    ('--config=configs/serch_digits.py', 'did you mean configs/search_digits'),
    ('--config.distill.warmup=4', 'none of the'),
  ],
)
def test_bad_input_on_the_command_line(here, tmp_path, flag, says):
  code, _, error = here(*TINY, f'--workdir={tmp_path / "new"}', flag)
  assert code == 2
  assert re.search(says, error), error
  assert len(error.splitlines()) == 1
  assert not (tmp_path / 'new').exists()


def test_a_folder_with_another_run_is_left_alone(whole, here):
  workdir, _ = whole
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob('*')}
  code, _, error = here(*TINY, f'--workdir={workdir}', '--config.seed=1')
  assert code == 2
  assert 'seed is 0 there and 1 here' in error
  assert {p: p.stat().st_mtime_ns for p in workdir.rglob('*')} == before


def test_dry_run_of_the_paper_s_search_needs_no_data(
  here, tmp_path, monkeypatch
):
  monkeypatch.setenv('TFDS_DATA_DIR', '/nowhere')
  config = '--config=configs/search_cifar.py'
  code, _, error = here(config, '--dry_run', f'--workdir={tmp_path}')
  assert code == 0, error
  plan = json.loads((tmp_path / 'plan.json').read_text())
  assert plan['supernet_parameters'] == 1930618
  assert plan['macs_per_image'] == 300255744
  assert plan['steps_per_epoch'] == 391
  # Two teachers' probabilities of ten classes, and a count, an example.
  assert plan['ring_bytes'] == 25_000 * (2 * 10 * 4 + 4)
  assert os.listdir(tmp_path) == ['plan.json']


@pytest.mark.parametrize('flag', ['--list', '--help'])
def test_a_reader_may_have_enough(flag, environment):
  told = f'{sys.executable} launch.py {flag} | true; exit ${{PIPESTATUS[0]}}'
  done = subprocess.run(
    ['bash', '-c', told],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=100,
  )
  assert (done.returncode, done.stderr) == (0, '')

"""Files: whole or not at all, known by their content, read or a sentence."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import locks
from sdnas_jax.runs import metrics


@pytest.mark.parametrize('mask', [0o022, 0o077, 0o002])
def test_files_honour_the_umask(tmp_path, mask):
  before = os.umask(mask)
  try:
    artifacts.write(tmp_path / 'metrics.csv', 'a\n1\n')
  finally:
    os.umask(before)
  mode = stat.S_IMODE((tmp_path / 'metrics.csv').stat().st_mode)
  assert mode == 0o666 & ~mask


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
  stay = ['metrics.csv', '.mine', '.metrics.csv.orig', '.run-0.lock', '.a.b.c']
  for name in [*stay, '.metrics.csv.0a1b2c3d', '.result.json.ffffffff']:
    (tmp_path / name).write_text('')
  artifacts.tidy(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stay)


READERS = {
  'result.json': artifacts.read_json,
  'metrics.csv': artifacts.read_rows,
  'genotypes.jsonl': artifacts.read_lines,
  'alphas.npz': artifacts.read_arrays,
}


@pytest.mark.parametrize(
  'name, content',
  [
    ('result.json', b''),
    ('result.json', b'{"a": 1'),
    ('result.json', b'[1]'),
    ('result.json', b'\xff'),
    ('result.json', b'[' * 100_000),
    ('metrics.csv', b'a,b\n1\n'),
    ('metrics.csv', b'a,b\n1,2,3\n'),
    ('metrics.csv', b'a,b\n1,"2\n'),
    ('metrics.csv', b'a,b\n1,\xff\n'),
    ('genotypes.jsonl', b'{}\n{'),
    ('alphas.npz', b''),
    ('alphas.npz', b'PK\x03\x04'),
  ],
)
def test_a_damaged_file_is_a_sentence_that_names_it(name, content, tmp_path):
  path = tmp_path / name
  assert not READERS[name](path)  # none is there
  path.write_bytes(content)
  with pytest.raises(errors.BadInput) as refused:
    READERS[name](path)
  text = str(refused.value)
  assert str(path) in text and 'restore it' in text and '\n' not in text


def test_what_was_changed_is_known(tmp_path):
  assert artifacts.broken(tmp_path) == []
  artifacts.write(tmp_path / 'metrics.csv', 'loss\n0.5\n')
  artifacts.write_arrays(tmp_path / 'alphas.npz', {'a': np.ones(3)})
  artifacts.write(tmp_path / 'report.html', 'a page')
  artifacts.seal(tmp_path)
  assert artifacts.broken(tmp_path) == []
  (tmp_path / 'metrics.csv').write_text('loss\n0.4\n')
  (tmp_path / 'report.html').write_text('another')
  assert artifacts.broken(tmp_path) == ['metrics.csv']
  (tmp_path / 'alphas.npz').unlink()
  assert artifacts.broken(tmp_path) == ['metrics.csv', 'alphas.npz']
  (tmp_path / 'checksums.json').write_text('{')
  assert artifacts.broken(tmp_path) == ['checksums.json']


HOLDER = """
import pathlib, sys
from sdnas_jax.runs import locks
from sdnas_jax.runs import metrics
with locks.alone(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  sys.stdin.read()
"""


def test_one_process_at_a_time_is_at_a_run(tmp_path):
  """And a killed one lets go, without a file that stays."""
  pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
  command = [sys.executable, '-c', HOLDER, str(tmp_path)]
  with subprocess.Popen(command, **pipes) as other:
    assert other.stdout.readline() == 'held\n'
    with pytest.raises(errors.BadInput, match='another process'):
      with locks.alone(tmp_path):
        pass
    other.kill()
  with locks.alone(tmp_path):
    pass
  assert not list(tmp_path.iterdir())


def test_a_record_that_was_edited_is_refused(tmp_path):
  """When a run goes on; a checkpoint without checksums tells nothing."""
  table = metrics.Table(tmp_path, done=0)
  table.rows = [{'epoch': '0', 'loss': '0.5'}, {'epoch': '1', 'loss': '0.4'}]
  told = {'metrics.csv': table.checksum(1)}
  table.rows[1]['loss'] = '0.3'  # of an epoch that will be run again
  found = {'metrics.csv': table.checksum(1)}
  artifacts.compare(tmp_path, told, found)
  table.rows[0]['loss'] = '0.6'
  found = {'metrics.csv': table.checksum(1)}
  artifacts.compare(tmp_path, {}, found)
  with pytest.raises(errors.BadInput, match=r'metrics.csv was changed'):
    artifacts.compare(tmp_path, told, found)

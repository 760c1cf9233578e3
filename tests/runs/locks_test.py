"""Processes on one folder share its runs, and none runs one twice."""

import subprocess
import sys

from sdnas_jax.runs import artifacts
from sdnas_jax.runs import locks

WORKER = """
import pathlib, sys, time
from sdnas_jax.runs import artifacts, locks

folder = pathlib.Path(sys.argv[1])
for path in locks.each(folder / name for name in 'abcd'):
  if locks.done(path):
    continue
  path.mkdir()  # fails if another process is or was at it
  until = time.monotonic() + 60
  while not (folder / 'd').exists() and time.monotonic() < until:
    if sum((folder / name).exists() for name in 'abcd') > 1:
      break  # another process has one too
    time.sleep(0.05)
  artifacts.write_json(path / 'result.json', {'by': sys.argv[2]})
print('end')
"""


def start(folder, name):
  return subprocess.Popen(
    [sys.executable, '-c', WORKER, str(folder), name],
    stdout=subprocess.PIPE,
    text=True,
  )


def test_each_run_is_one_process_s(tmp_path):
  workers = [start(tmp_path, name) for name in ('one', 'two', 'three')]
  said = [worker.communicate(timeout=120)[0] for worker in workers]
  assert [worker.returncode for worker in workers] == [0, 0, 0]
  assert all(text.rstrip().endswith('end') for text in said)
  owners = [
    artifacts.read_json(tmp_path / name / 'result.json')['by']
    for name in 'abcd'
  ]
  assert 1 < len(set(owners)) <= 3


def test_a_run_that_is_held_is_left_and_a_killed_process_lets_go(tmp_path):
  paths = [tmp_path / 'a', tmp_path / 'b']
  mine = locks.each(paths)
  assert next(mine) == paths[0]
  assert list(locks.each(paths)) == [paths[1]]
  holder = f"""
import pathlib, time
from sdnas_jax.runs import locks
for path in locks.each([pathlib.Path({str(paths[1])!r})]):
  print('held', flush=True)
  time.sleep(600)
"""
  other = subprocess.Popen(
    [sys.executable, '-c', holder], stdout=subprocess.PIPE, text=True
  )
  while 'held' not in other.stdout.readline():
    assert other.poll() is None
  assert list(locks.each(paths)) == []
  other.kill()
  other.communicate()
  assert list(locks.each(paths)) == [paths[1]]
  mine.close()
  assert list(locks.each(paths)) == paths

"""The notebook, run by a kernel of this Python on a tiny search."""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

from ipykernel import kernelspec
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
BOOK = ROOT / 'notebooks' / 'colab.ipynb'
DATA = (
  '--config.data.examples=56',
  '--config.batch_size=16',
  '--config.model.layers=1',
  '--config.model.channels=2',
)
PROBE = (
  '--config.sharpness.batches=1',
  '--config.sharpness.products=2',
)


def read():
  return nbformat.read(BOOK, as_version=4)


def source(name):
  """Of the cell with that id."""
  return next(cell.source for cell in read().cells if cell.id == name)


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
  """What a user would fill in, by name."""
  return {
    'FOLDER': str(tmp_path_factory.mktemp('my runs')),
    'SEARCH_EPOCHS': 2,
    'TRAIN_EPOCHS': 2,
    'SEARCH_FLAGS': ' '.join([*DATA, *PROBE]),
    'TRAIN_FLAGS': ' '.join([*DATA, '--config.data.holdout=16']),
    **{'FEW': 80, 'CHANNELS': 2, 'LAYERS': 1},
  }


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
  """A kernel that is this Python, whatever the user set."""
  home = tmp_path_factory.mktemp('home')
  kernelspec.write_kernel_spec(home / 'jupyter' / 'kernels' / 'python3')
  own = {
    'IPYTHONDIR': home / 'ipython',
    'JUPYTER_PATH': home / 'jupyter',
    'JUPYTER_RUNTIME_DIR': home / 'runtime',
  }
  with pytest.MonkeyPatch.context() as patch:
    for name, value in own.items():
      patch.setenv(name, str(value))
    yield


def execute(settings):
  """Runs all cells; returns, by their ids, what they say and show."""
  book = read()
  for name, value in settings.items():
    pattern, line = rf'^{name} = .*?(  # @param)', rf'{name} = {value!r}\1'
    count = 0
    for cell in book.cells:
      cell.source, new = re.subn(pattern, line, cell.source, flags=re.MULTILINE)
      count += new
    assert count == 1, name
  where = {'metadata': {'path': str(BOOK.parent)}}
  nbclient.NotebookClient(book, timeout=400, resources=where).execute()
  cells = [cell for cell in book.cells if cell.cell_type == 'code']
  outputs = {cell.id: cell.outputs for cell in cells}
  said = {
    name: ''.join(one.get('text', '') for one in every)
    for name, every in outputs.items()
  }
  shown = {
    name: [kind for one in every for kind in one.get('data', {})]
    for name, every in outputs.items()
  }
  return said, shown


@pytest.fixture(scope='module')
def whole(environment, settings):
  return execute(settings)


def folder(settings, task):
  return pathlib.Path(settings['FOLDER']) / 'digits' / task


def rows(workdir):
  """What was measured, without the times."""
  with (workdir / 'metrics.csv').open() as file:
    return [
      {name: text for name, text in row.items() if 'second' not in name}
      for row in csv.DictReader(file)
    ]


def test_it_is_kept_without_outputs():
  book = read()
  nbformat.validate(book)
  for cell in book.cells:
    if cell.cell_type == 'code':
      assert not cell.outputs and cell.execution_count is None
    assert max(map(len, cell.source.splitlines())) <= 80


def test_the_badge_opens_it():
  badge = re.search(
    r'\(https://colab\S*/github/(.*)\)', ROOT.joinpath('README.md').read_text()
  )
  owner, name, blob, main, *path = badge[1].split('/')
  assert ROOT.joinpath(*path) == BOOK and (blob, main) == ('blob', 'main')
  assert f"'https://github.com/{owner}/{name}'" in source('install')


def test_a_run_shows_what_it_found(whole, settings):
  said, shown = whole
  assert not said['install'] and not said['folder']
  assert re.match(r'\d+ x .+; 10 classes', said['search'])
  assert 'epoch 2/2: train' in said['search']
  assert 'dominant eigenvalue' in said['search']
  assert shown['cells'].count('image/svg+xml') == 2
  for name in ('alphas', 'metrics', 'result'):
    assert shown[name].count('image/png') == 1
  assert 'epoch 2/2: train' in said['train']
  result = json.loads((folder(settings, 'train') / 'result.json').read_text())
  assert f'{result["test_error"]}\n' in said['result']
  found = json.loads((folder(settings, 'search') / 'genotype.json').read_text())
  assert result['genotype'] == found


def test_the_interface_searches_by_another_method(whole, settings):
  said, shown = whole
  assert 'epoch 2/2' in said['python'] and 'text/html' in shown['python']
  assert re.search(r'\d\.\d% of the digits put aside', said['network'])
  runs = pathlib.Path(settings['FOLDER'])
  config = json.loads((runs / 'gdas' / 'config.json').read_text())['config']
  assert config['method'] == 'gdas' and config['distill']['weight'] == 0
  assert (runs / 'gdas.stablehlo').exists()


def test_own_pictures_are_searched_and_reported(whole, settings):
  said, shown = whole
  assert '2 classes' in said['pictures']
  assert re.search(r'16\s+x\s+16', said['pictures'])
  assert shown['pictures'] == shown['python']
  assert 'text/html' in shown['report']
  run = pathlib.Path(settings['FOLDER']) / 'pictures_search'
  data = json.loads((run / 'config.json').read_text())['data']
  assert data['names'] == ['china', 'flower'] and data['examples'] == 120


def test_all_cells_again_resume(whole, settings):
  search, train = folder(settings, 'search'), folder(settings, 'train')
  before = [rows(search), rows(train)]
  kept = sorted((train / 'checkpoints').iterdir(), key=lambda p: int(p.name))
  shutil.rmtree(kept[-1])  # as if it had been cut off in the last epoch
  said, shown = execute(settings)
  assert shown == whole[1]
  # The search is done, and only says again what it found.
  assert 'epoch 1/2' not in said['search'] and 'epoch 2/2' not in said['search']
  assert 'normal cell' in said['search']
  assert 'resuming after 1 of 2 epochs' in said['train']
  assert 'epoch 1/2: train' not in said['train']
  assert 'epoch 2/2: train' in said['train']
  assert [rows(search), rows(train)] == before


@pytest.mark.parametrize('gpu', [True, False])
def test_on_colab_it_installs_beside_colab_s_packages(
  monkeypatch, tmp_path, gpu
):
  commands = []

  class Popen(subprocess.Popen):
    def __init__(self, command, **options):
      commands.append(command)
      super().__init__([sys.executable, '-c', ''], **options)

  monkeypatch.setitem(sys.modules, 'google.colab', types.ModuleType('colab'))
  monkeypatch.setattr(subprocess, 'Popen', Popen)
  monkeypatch.setattr(
    subprocess, 'getstatusoutput', lambda command: (0 if gpu else 127, '')
  )
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', [*sys.path])
  checkout = tmp_path / 'sdnas_jax'
  text = source('install').replace('/content/sdnas_jax', str(checkout))
  monkeypatch.setattr(os, 'chdir', lambda path: None)
  names = {}
  exec(text, names)
  clone, environment, install = commands
  assert clone[:2] == ('git', 'clone') and clone[-1] == str(checkout)
  assert environment[-1] == '.venv' and names['PYTHON'] == '.venv/bin/python'
  assert install[3:6] == ('--python', '.venv/bin/python', 'install')
  assert install[-1] == ('.[cuda]' if gpu else '.')
  assert sys.path[0].startswith(f'{checkout}/.venv/lib/python3.')

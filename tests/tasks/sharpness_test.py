"""The comparison of sharpness: which searches it runs, and what it reads."""

import csv
import json

import numpy as np
import pytest

from configs import sharpness_digits
from sdnas_jax import errors
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import check
from sdnas_jax.tasks import sharpness
from tests import launch_test


def config(**change):
  made = sharpness_digits.get_config()
  made.seeds = 2
  made.update_from_flattened_dict(change)
  return made


def value(method, seed, epoch):
  return (1.0 if method == 'DARTS' else 0.5) + seed / 10 + epoch / 100


@pytest.fixture
def runs(monkeypatch):
  """Stands in for searching; says what was asked for."""
  asked = []

  def search(config, workdir, dry_run):
    asked.append((workdir.name, config.seed, config.distill.weight))
    # The first seed alone is portrayed.
    assert config.sharpness.spectrum == (config.seed == 0)
    if dry_run:
      return
    workdir.mkdir(exist_ok=True)
    method, _, seed = workdir.name.rpartition('-')
    names = 'epoch', 'dominant_eigenvalue', 'sharpness', 'gap', 'loss_drop'
    with (workdir / 'metrics.csv').open('w', newline='') as file:
      table = csv.writer(file)
      table.writerow(names)
      for epoch in range(4):
        number = value(method, int(seed), epoch)
        table.writerow([epoch, *([number] * 4 if epoch % 2 else [''] * 4)])
    (workdir / 'result.json').write_text('{}')
    if config.sharpness.spectrum:
      found = [{'eigenvalue': value(method, 0, 9), 'share': 1.0}]
      artifacts.write_rows(workdir / 'spectrum.csv', found)

  monkeypatch.setattr(sharpness.search, 'run', search)
  return asked


def test_every_method_runs_with_every_seed_and_is_read(runs, tmp_path, capsys):
  sharpness.run(config(), tmp_path, False)
  assert runs == [
    *(('DARTS-0', 0, 0.0), ('SD-DARTS-0', 0, 1.0)),
    *(('DARTS-1', 1, 0.0), ('SD-DARTS-1', 1, 1.0)),
  ]
  with (tmp_path / 'eigenvalues.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert list(rows[0]) == [
    *('method', 'seed', 'epoch', 'dominant_eigenvalue', 'sharpness', 'gap'),
    'loss_drop',
  ]
  assert len(rows) == 8 and {row['epoch'] for row in rows} == {'1', '3'}
  for row in rows:
    expected = value(row['method'], int(row['seed']), int(row['epoch']))
    assert float(row['gap']) == expected
  assert (tmp_path / 'eigenvalues.png').read_bytes().startswith(b'\x89PNG')
  assert (tmp_path / 'spectrum.png').read_bytes().startswith(b'\x89PNG')
  assert not (tmp_path / 'landscape.png').exists()
  assert 'eigenvalue' in (tmp_path / 'report.html').read_text()
  # At epoch 3: 1.03 and 1.13 for DARTS; half the difference times root 2.
  said = capsys.readouterr().out
  assert '1.0800 +- 0.0707' in said and '0.5800 +- 0.0707' in said
  assert max(map(len, said.splitlines())) <= 80


def test_a_dry_run_searches_nothing(runs, tmp_path):
  sharpness.run(config(), tmp_path, True)
  assert [name for name, *_ in runs] == ['search']
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'change, says',
  [
    ({'search.sharpness.every': 0}, 'measures nothing'),
    ({'methods': {}}, 'needs a search section, and methods'),
    ({'methods': {'A': {'distil': {'weight': 0}}}}, 'did you mean distill'),
    ({'methods': {'A': {'epochs': 'x'}}}, 'another type'),
    ({'methods': {'a/b': {'epochs': 16}}}, 'without slashes'),
    ({'methods': {'A': {'data': {'name': 'cifar10'}}}}, 'other data'),
    ({'seeds': 0}, 'seeds must be at least 1'),
  ],
)
def test_bad_input(change, says):
  made = config().unlock()
  for name, new in change.items():
    if name == 'methods':
      made.methods = new
    else:
      made.update_from_flattened_dict({name: new})
  with pytest.raises(errors.BadInput, match=says):
    check.sharpness(made)


def test_a_real_search_measures_what_is_asked(tmp_path):
  environment = launch_test.os.environ
  done = launch_test.launch(
    environment,
    tmp_path,
    '--config.sharpness.every=2',
    '--config.sharpness.batches=1',
    '--config.sharpness.products=2',
  )
  assert done.returncode == 0, done.stderr
  with (tmp_path / 'metrics.csv').open() as file:
    rows = list(csv.DictReader(file))
  measured = [row['dominant_eigenvalue'] != '' for row in rows]
  assert measured == [False, True, True]  # the last epoch always
  for row in rows[1:]:
    assert -1 <= float(row['gap']) <= 1 and float(row['sharpness']) >= 0
  assert done.stdout.count('dominant eigenvalue') == 2
  assert max(map(len, done.stdout.splitlines())) <= 80
  genotype = json.loads((tmp_path / 'genotype.json').read_text())
  assert genotype['space'] in SPACES
  assert np.isfinite(float(rows[-1]['dominant_eigenvalue']))
  names = {path.name for path in tmp_path.iterdir()}
  assert 'report.html' in names and 'landscape.npz' not in names
  result = json.loads((tmp_path / 'result.json').read_text())
  assert result['genotype'] == genotype

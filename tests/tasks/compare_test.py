"""The comparison: which trainings it runs, and what it makes of them."""

import csv
import json
import pathlib

import numpy as np
import pytest

from configs import demo
from sdnas_jax import errors
from sdnas_jax.spaces import darts
from sdnas_jax.spaces import published
from sdnas_jax.tasks import check
from sdnas_jax.tasks import compare

ERRORS = {'found': 0.1, 'DARTS_V2': 0.2, 'random': 0.3}


@pytest.fixture
def runs(monkeypatch):
  """Stands in for searching and training; says what was asked for."""
  asked = []

  def search(config, workdir, dry_run):
    workdir.mkdir(parents=True, exist_ok=True)
    found = published.CELLS['GDAS_V1'].genotype.fields
    (workdir / 'genotype.json').write_text(json.dumps(found))
    asked.append((workdir.name, config.data.examples))

  def train(config, workdir, dry_run):
    workdir.mkdir(exist_ok=True)
    name, _, number = workdir.name.partition('-')
    asked.append((workdir.name, config.seed, published.find(config.genotype)))
    if dry_run:
      return
    result = {
      'test_error': ERRORS[name] + int(number) / 100,
      'parameters': 1000,
      'macs': 10,
      'seconds': 1.0,
    }
    (workdir / 'result.json').write_text(json.dumps(result))

  monkeypatch.setattr(compare.search, 'run', search)
  monkeypatch.setattr(compare.evaluate, 'run', train)
  return asked


def config(**change):
  made = demo.get_config()
  made.repeats, made.randoms = 2, 3
  made.update(change)
  return made


def test_it_runs_each_network_and_compares_their_errors(runs, tmp_path, capsys):
  compare.run(config(), tmp_path, False)
  names = [run[0] for run in runs]
  assert names == [
    *('search', 'found-0', 'found-1', 'DARTS_V2-0', 'DARTS_V2-1'),
    *('random-0', 'random-1', 'random-2'),
  ]
  assert runs[0][1] == 1437  # no image of the test
  cells = {run[0]: run[2] for run in runs[1:]}
  assert cells['found-0'] == cells['found-1']
  assert cells['found-0'] == published.CELLS['GDAS_V1'].genotype
  assert cells['DARTS_V2-1'] == published.CELLS['DARTS_V2'].genotype
  assert len({cells[f'random-{n}'] for n in range(3)}) == 3
  assert [run[1] for run in runs[1:]] == [0, 1, 0, 1, 0, 1, 2]

  with (tmp_path / 'comparison.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['test_error'] for row in rows[:2]] == ['0.1', '0.11']
  out = capsys.readouterr().out
  # Half the difference of two numbers times the root of two is their spread.
  assert 'found              2   10.50 +- 0.71        1,000' in out
  assert 'random             3   31.00 +- 1.00        1,000' in out
  assert (tmp_path / 'comparison.png').read_bytes().startswith(b'\x89PNG')
  assert max(map(len, out.splitlines())) <= 80


def test_another_comparison_is_left_alone(runs, tmp_path):
  compare.run(config(), tmp_path, False)
  with pytest.raises(errors.BadInput, match='randoms is 3 there'):
    compare.run(config(randoms=4), tmp_path, False)
  compare.run(config(), tmp_path, False)


def test_a_folder_may_be_named_by_another_path(runs, tmp_path, monkeypatch):
  compare.run(config(), tmp_path, False)
  monkeypatch.chdir(tmp_path.parent)
  compare.run(config(), pathlib.Path(tmp_path.name), False)
  assert len(runs) == 2 * 8  # each asked again: it is theirs to be done


@pytest.mark.parametrize(
  'change, says',
  [
    (lambda c: c.evaluate.data.update(holdout=0), 'no test images of its own'),
    (lambda c: c.search.data.update(examples=2000), 'digits has 1797'),
  ],
)
def test_a_part_that_does_not_fit_is_refused_before_the_first_runs(
  runs, tmp_path, change, says
):
  made = config()
  change(made)
  with pytest.raises(errors.BadInput, match=says):
    compare.run(made, tmp_path / 'new', False)
  assert not runs and not (tmp_path / 'new').exists()


def test_a_dry_run_is_of_the_search_and_the_baseline(runs, tmp_path):
  compare.run(config(baseline='NASNet'), tmp_path, True)
  assert [run[0] for run in runs] == ['search', 'NASNet']
  assert runs[1][2] == published.CELLS['NASNet'].genotype


def test_random_genotypes_are_uniform():
  found = [compare.random(darts.SPACE, seed) for seed in range(3000)]
  assert all(
    one != other
    for genotype in found[:100]
    for graph in genotype.graphs.values()
    for (_, one), (_, other) in graph.nodes
  )
  last = [genotype.graphs['normal'].nodes[3] for genotype in found]
  for values, count in (
    ([source for pair in last for _, source in pair], 5),
    ([kind for pair in last for kind, _ in pair], 7),
  ):
    _, seen = np.unique(values, return_counts=True)
    expected = 6000 / count
    assert len(seen) == count
    assert np.abs(seen - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize(
  'change, says',
  [
    (lambda c: c.update(repeats=0), 'repeats must be at least 1'),
    (lambda c: c.update(baseline='DARTS_V3'), 'did you mean DARTS_V'),
    (lambda c: c.search.update(epochs=0), 'epochs must be at least 1'),
    (lambda c: c.evaluate.update(batch_size=0), 'batch_size must be'),
  ],
)
def test_a_bad_part_is_refused(change, says):
  made = config()
  change(made)
  with pytest.raises(errors.BadInput, match=says):
    check.compare(made)

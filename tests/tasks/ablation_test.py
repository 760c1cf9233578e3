"""The ablation: which searches and trainings it runs, what it makes of them."""

import json

import pytest

from configs import ablation_teachers
from configs import ablation_warmup
from sdnas_jax import errors
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import published
from sdnas_jax.tasks import ablation
from sdnas_jax.tasks import check

ERRORS = {1: 0.5, 3: 0.25}


def config(**change):
  made = ablation_warmup.get_config('digits')
  made.levels, made.seeds = (1, 3), 2
  made.update(change)
  return made


@pytest.fixture
def runs(monkeypatch):
  """Stands in for searching and training; says what was asked for."""
  asked = []

  def leave(config, workdir, result):
    workdir.mkdir(parents=True, exist_ok=True)
    artifacts.claim(workdir, config.to_dict())
    artifacts.write_json(workdir / 'result.json', result)

  def search(config, workdir, dry_run):
    asked.append((config.distill.warmup, config.distill.teachers, config.seed))
    if dry_run:
      return
    leave(config, workdir, {'valid_accuracy': 0.75})
    cell = published.CELLS['GDAS_V1'].genotype.fields
    artifacts.write_json(workdir / 'genotype.json', cell)

  def train(config, workdir, dry_run):
    warmup, seed = asked[-1][0], asked[-1][2]
    assert published.find(config.genotype).graphs and config.seed == seed
    error = ERRORS[warmup] + seed / 100
    leave(config, workdir, {'test_error': error, 'parameters': 1000})

  monkeypatch.setattr(ablation.search, 'run', search)
  monkeypatch.setattr(ablation.evaluate, 'run', train)
  return asked


def test_each_value_and_seed_is_searched_and_trained(runs, tmp_path, capsys):
  ablation.run(config(), tmp_path, False)
  assert runs == [(1, 1, 0), (3, 1, 0), (1, 1, 1), (3, 1, 1)]
  rows = artifacts.read_rows(tmp_path / 'ablation.csv')
  found = {(row['value'], row['seed']): float(row['accuracy']) for row in rows}
  assert found == {
    **{('1', '0'): 0.5, ('3', '0'): 0.75},
    **{('1', '1'): pytest.approx(0.49), ('3', '1'): pytest.approx(0.74)},
  }
  said = capsys.readouterr().out
  # Half the difference of two numbers times the root of two is their spread.
  assert '49.50 +- 0.71' in said and '74.50 +- 0.71' in said
  assert max(map(len, said.splitlines())) <= 80
  assert (tmp_path / 'ablation.png').read_bytes().startswith(b'\x89PNG')
  # Again, after a kill in the last training: that one alone is run.
  (tmp_path / '3-1' / 'evaluate' / 'result.json').unlink()
  ablation.run(config(), tmp_path, False)
  assert runs[4:] == [(3, 1, 1)]
  assert artifacts.read_rows(tmp_path / 'ablation.csv') == rows
  page = (tmp_path / 'report.html').read_text()
  assert '3-1/evaluate/report.html' not in page  # the stand-ins write none
  assert '0.74' in page


def test_a_dry_run_searches_nothing(runs, tmp_path):
  ablation.run(config(), tmp_path, True)
  assert len(runs) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'change, says',
  [
    ({'field': 'distil.warmup'}, 'did you mean distill.warmup'),
    ({'levels': ()}, 'levels is empty'),
    ({'levels': (1, 99)}, 'longer than the run'),
    ({'levels': ('x',)}, "'x' is no value of distill.warmup"),
    ({'field': 'data.dir', 'levels': ('/a/b',)}, 'without slashes'),
    ({'field': 'seed'}, "unknown field 'seed'"),
    ({'seeds': 0}, 'seeds must be at least 1'),
  ],
)
def test_bad_input(change, says):
  with pytest.raises(errors.BadInput, match=says):
    check.ablation(config(**change))


def test_the_paper_s_settings():
  warmup, teachers = (
    ablation_warmup.get_config(),
    ablation_teachers.get_config(),
  )
  check.ablation(warmup)
  check.ablation(teachers)
  # Section 5.1: a window of 1. Section 5.2: 25 epochs, several windows.
  assert warmup.search.distill.teachers == 1 and 25 in warmup.levels
  assert teachers.search.distill.warmup == 25 and teachers.levels[:2] == (1, 2)
  digits = ablation_teachers.get_config('digits')
  check.ablation(digits)
  # The search sees no image of the test.
  assert digits.search.data.examples + digits.evaluate.data.holdout == 1797
  assert json.dumps(warmup.evaluate.to_dict())

"""A search of NAS-Bench-201's space, a training of its cell, their record."""

import json

import numpy as np
import pytest

from configs import evaluate_nasbench201
from configs import search_nasbench201
from sdnas_jax import errors
from sdnas_jax.analysis import nasbench201 as table
from sdnas_jax.analysis import truth
from sdnas_jax.data import sources
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.spaces import published
from sdnas_jax.tasks import check
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import search


def tiny(config):
  """A config made small enough to compile in seconds."""
  config.data.name = 'digits'
  config.data.examples = 56
  config.data.pad = 1
  config.batch_size = 16
  config.epochs = 2
  config.model.channels = 2
  config.model.layers = 1
  config.model.depthwise = 'grouped'
  return config


def searching():
  """The config of a search, whose compiled programs several tests share."""
  config = tiny(search_nasbench201.get_config())
  config.distill.warmup = 1
  config.alphas.lr = 0.5  # so that the genotypes differ
  return config


@pytest.fixture(scope='module')
def searched(tmp_path_factory):
  """The folder of a search."""
  workdir = tmp_path_factory.mktemp('runs') / 'searched'
  search.run(searching(), workdir, dry_run=False)
  return workdir


def test_the_truth_of_every_epoch_is_the_table_s_of_its_alphas(searched):
  rows = artifacts.read_rows(searched / 'metrics.csv')
  found = artifacts.read_lines(searched / 'genotypes.jsonl')
  tables = artifacts.read_arrays(searched / 'alphas.npz')['cell']
  assert len(rows) == len(found) == len(tables) == 2
  for row, genotype, logits in zip(rows, found, tables, strict=True):
    cell = tuple(cells.OPERATIONS[k] for k in np.argmax(logits, axis=1))
    assert genotype == {
      'space': 'nasbench201',
      'architecture': cells.text(cell),
    }
    known = table.query(cell).cifar10.test / 100
    assert float(row['true_accuracy']) == pytest.approx(known, abs=1e-6)
  assert found[0] != found[1]
  result = json.loads((searched / 'result.json').read_text())
  assert result['true_accuracy'] == float(rows[-1]['true_accuracy'])
  last = published.find(str(searched / 'genotype.json'))
  assert last.fields == result['genotype'] == found[-1]


def test_its_report_draws_the_cell_the_alphas_and_the_truth(searched):
  text = (searched / 'report.html').read_text()
  assert 'after 200 epochs on cifar10, for the table has no digits' in text
  assert 'id="truth"' in text and 'id="alphas"' in text
  assert 'alt="cell:\n' in text and 'data-frames="0 1"' in text
  for picture in ('cell.svg', 'alphas.png'):
    assert (searched / picture).stat().st_size > 1000
  assert not (searched / 'normal.svg').exists()


def test_a_search_resumes_and_says_where_its_truth_is_from(searched, capsys):
  config = json.loads((searched / 'config.json').read_text())['config']
  made = tiny(search_nasbench201.get_config())
  made.update_from_flattened_dict(artifacts.flat(config))
  search.run(made, searched, dry_run=False)
  out = capsys.readouterr().out
  assert 'true_accuracy: after 200 epochs on cifar10, for the' in out
  assert '  c_{k} = concat(2)' in out
  assert max(map(len, out.splitlines())) <= 80


def test_the_cell_found_is_trained(searched, tmp_path):
  config = tiny(evaluate_nasbench201.get_config())
  config.genotype = str(searched / 'genotype.json')
  config.data.holdout = 20
  evaluate.run(config, tmp_path, dry_run=False)
  result = json.loads((tmp_path / 'result.json').read_text())
  assert 0 <= result['test_error'] <= 1
  assert published.read(result['genotype']) == published.find(config.genotype)
  net, variables = evaluate.load(tmp_path)
  images = np.zeros((3, 8, 8, 1), np.float32)
  assert net.apply(variables, images).shape == (3, 10)


@pytest.mark.parametrize(
  'data, column, which',
  [
    ('cifar10', 'true_accuracy', 'cifar10'),
    ('cifar100', 'true_accuracy_cifar100', 'cifar100'),
    ('imagenet16-120', 'true_accuracy_imagenet16_120', 'imagenet16_120'),
    ('digits', 'true_accuracy', 'cifar10'),
  ],
)
def test_the_truth_is_that_of_the_data_set_if_it_is_known(data, column, which):
  known = getattr(table.query(9930), which).test
  row = truth.row(cells.of(cells.cell(9930)), data)
  assert row == {column: pytest.approx(known / 100, abs=1e-6)}
  tests = [getattr(table.query(n), which).test for n in range(cells.SIZE)]
  assert truth.optimum(data) == pytest.approx(max(tests) / 100)
  note = truth.note('nasbench201', data)
  named = which.replace('_', '-')
  assert note.startswith(f'{column}: after 200 epochs on {named}')
  assert ('the table has no' in note) == (data == 'digits')


def test_other_spaces_have_no_truth():
  assert truth.row(published.CELLS['DARTS_V2'].genotype, 'cifar10') == {}
  assert truth.note('darts', 'cifar10') == ''


def test_the_two_settings_of_the_search():
  one, other = map(search_nasbench201.get_config, ('authors', 'others'))
  for config, (epochs, nesterov, decay) in (
    (one, (50, True, 5e-4)),
    (other, (100, False, 3e-4)),
  ):
    check.search(config)
    w, a = config.weights, config.alphas
    assert (config.epochs, w.nesterov, w.decay) == (epochs, nesterov, decay)
    assert (config.batch_size, w.lr, w.lr_min, w.momentum, w.clip) == (
      *(64, 0.025, 0.001, 0.9),
      5.0,
    )
    assert (a.lr, a.b1, a.b2, a.decay) == (3e-4, 0.5, 0.999, 1e-3)
    assert config.distill.warmup == epochs // 2
  with pytest.raises(ValueError, match="take 'authors' or 'others'"):
    search_nasbench201.get_config('theirs')


@pytest.mark.parametrize('epochs', [12, 200])
def test_the_recipe_of_the_benchmark(epochs):
  config = evaluate_nasbench201.get_config(str(epochs))
  source = sources.find('cifar10', '')
  check.evaluate(config)
  check.benchmark(config, source)
  assert (config.epochs, config.batch_size) == (epochs, 256)
  setup = evaluate.assemble(config, published.find('9930'), source)
  assert setup.augment == (4, True, 0, 0.0, 0.0)
  assert setup.net.genotype == cells.of(cells.cell(9930))
  with pytest.raises(ValueError, match='take 12 or 200'):
    evaluate_nasbench201.get_config('13')


def test_the_network_for_imagenet16_120_is_the_benchmark_s(tmp_path):
  config = evaluate_nasbench201.get_config()
  cell = ('nor_conv_3x3',) * 6
  config.genotype = cells.text(cell)
  config.data.update(name='imagenet16-120', pad=2)
  evaluate.run(config, tmp_path, dry_run=True)
  plan = json.loads((tmp_path / 'plan.json').read_text())
  assert plan['parameters'] == table.query(cell).imagenet16_120.parameters
  assert round(plan['macs'] / 1e6, 2) == 55.04
  assert (plan['train_examples'], plan['test_examples']) == (151_700, 6_000)


@pytest.mark.parametrize(
  'change, says',
  [
    ({'weights.auxiliary': 0.4}, 'know no weights.auxiliary'),
    ({'weights.drop_path': 0.2}, 'know no weights.drop_path'),
    ({'model.imagenet': True}, 'know no model.imagenet'),
  ],
)
def test_what_the_networks_do_not_know_is_refused(change, says):
  config = evaluate_nasbench201.get_config()
  config.update_from_flattened_dict(change)
  with pytest.raises(errors.BadInput, match=says):
    check.benchmark(config, sources.find('cifar10', ''))


def test_images_that_cannot_be_halved_twice_are_refused():
  config = search_nasbench201.get_config()
  source = sources.find('cifar10', '')._replace(shape=(30, 32, 3))
  with pytest.raises(errors.BadInput, match='30 x 32 pixels cannot be halved'):
    check.sizes(config, source)


def test_a_search_of_the_space_needs_its_own_fields():
  config = search_nasbench201.get_config()
  with config.unlocked():
    del config.model.affine
  with pytest.raises(errors.BadInput, match='lacks model'):
    check.search(config)

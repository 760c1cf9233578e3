"""The package from Python: found, trained, predicted, kept."""

import json
import pathlib
import re
import threading

from jax import export
import numpy as np
import pytest

import sdnas_jax
from sdnas_jax import errors
from sdnas_jax import interface
from sdnas_jax.spaces import published
from sdnas_jax.tasks import search as searching

TINY = {
  **{'batch_size': 16, 'model__layers': 1, 'model__channels': 2, 'epochs': 2},
}


@pytest.fixture(scope='module')
def digits():
  """Eighty of them."""
  from sklearn.datasets import load_digits

  table = load_digits()
  images = np.round(table.images[:80] * (255 / 16)).astype(np.uint8)
  return images[..., None], table.target[:80]


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(tmp_path_factory.mktemp('home'))
    yield pathlib.Path.cwd()


@pytest.fixture(scope='module')
def found(digits, home):
  return sdnas_jax.search(*digits, config='search_digits', **TINY)


@pytest.fixture(scope='module')
def network(found):
  return found.train(config='evaluate_digits', **TINY)


def recorded(run):
  return json.loads((run.workdir / 'config.json').read_text())


def test_a_search_is_one_of_the_command(found, digits):
  about = recorded(found)
  assert about['config']['method'] == 'darts'
  assert about['config']['distill']['weight'] == 1.0
  assert about['config']['distill']['warmup'] == 1  # of 2 epochs, 8 of 16
  # A fifth of the 80 is put aside.
  assert (about['data']['examples'], about['data']['tests']) == (64, 16)
  assert found.workdir.parent == pathlib.Path('runs')
  assert found.accuracy == found.result['valid_accuracy']
  assert len(found.metrics) == 2 and found.metrics[1]['distill_loss'] > 0
  assert found.genotype.space == 'darts'
  with np.load(*found.workdir.glob('images-*.npz')) as file:
    kept = np.concatenate([file['x_train'], file['x_test']])
    labels = np.concatenate([file['y_train'], file['y_test']])
  rows = {(a.tobytes(), int(b)) for a, b in zip(kept, labels, strict=True)}
  assert rows == {(a.tobytes(), int(b)) for a, b in zip(*digits, strict=True)}
  assert np.bincount(labels[64:], minlength=10).min() >= 1  # of each class


def test_the_same_call_gives_back_the_run(found, digits, monkeypatch):
  def never(*given, **named):
    raise AssertionError('it searched again')

  monkeypatch.setattr(searching, '_search', never)
  with pytest.raises(AssertionError, match='searched again'):
    sdnas_jax.search(*digits, config='search_digits', **{**TINY, 'seed': 1})
  monkeypatch.undo()
  before = [row['train_loss'] for row in found.metrics]
  again = sdnas_jax.search(*digits, config='search_digits', **TINY)
  assert again.workdir == found.workdir
  section = {'model': {'layers': 1, 'channels': 2}, 'batch_size': 16}
  again = sdnas_jax.search(*digits, config='search_digits', epochs=2, **section)
  assert again.workdir == found.workdir
  assert [row['train_loss'] for row in again.metrics] == before


def test_a_notebook_sees_cells_and_the_report(found):
  shown = found._repr_html_()
  assert shown.count('<svg') == 2 and 'accuracy' in shown
  for name, _ in found.genotype.graphs['normal'].nodes[0]:
    assert name in repr(found)
  frame = found.report()._repr_html_()
  (page,) = re.findall(r'srcdoc="(.*?)"', frame, re.DOTALL)
  assert 'Losses and accuracies' in page and '<' not in page


def test_a_network_learns_of_what_was_not_put_aside(network, found, digits):
  about = recorded(network)
  assert about['data']['digest'] and about['config']['data']['holdout'] == 0
  assert (about['data']['examples'], about['data']['tests']) == (64, 16)
  assert network.genotype == found.genotype
  with np.load(*found.workdir.glob('images-*.npz')) as file:
    right = network.predict(file['x_test']) == file['y_test']
  assert network.accuracy == pytest.approx(right.mean())


def test_what_is_saved_says_the_same(network, digits, tmp_path):
  images = digits[0][:7]
  network.save(tmp_path / 'network.stablehlo')
  kept = (tmp_path / 'network.stablehlo').read_bytes()
  logits = export.deserialize(kept).call(images)
  np.testing.assert_allclose(network.logits(images), logits, 1e-4, 1e-4)
  assert network.logits(images[:0]).shape == (0, 10)
  with pytest.raises(errors.BadInput, match=r'uint8 images \[N, 8, 8, 1\]'):
    network.predict(images / 255)


def test_a_run_is_loaded_from_its_folder(found, network, tmp_path):
  assert isinstance(sdnas_jax.load(found.workdir), interface.Found)
  again = sdnas_jax.load(str(network.workdir))
  assert again.accuracy == network.accuracy
  with pytest.raises(errors.BadInput, match='holds no run'):
    sdnas_jax.load(tmp_path)


def test_a_network_is_saved_in_every_form_of_export(network, digits, tmp_path):
  for ending in ('npz', 'onnx'):
    network.save(tmp_path / f'network.{ending}')
    assert (tmp_path / f'network.{ending}').stat().st_size > 1000
  with pytest.raises(errors.BadInput, match='unknown ending'):
    network.save('network.pt')
  with pytest.raises(errors.BadInput, match='make it first'):
    network.save(tmp_path / 'none' / 'network.npz')


@pytest.mark.parametrize('form', [lambda f: f, lambda f: f.genotype])
def test_a_run_and_what_it_found_serve_as_genotypes(found, digits, form):
  fields = {**TINY, 'epochs': 1, 'config': 'evaluate_digits'}
  network = sdnas_jax.train(form(found), *digits, **fields)
  assert network.genotype == found.genotype


def test_a_folder_that_is_a_file_is_refused(digits, tmp_path):
  (tmp_path / 'file').write_text('kept')
  with pytest.raises(errors.BadInput, match='file'):
    sdnas_jax.search(*digits, workdir=tmp_path / 'file', **TINY)
  assert (tmp_path / 'file').read_text() == 'kept'


def test_a_published_cell_on_a_data_set_of_a_name(home):
  network = sdnas_jax.train(
    *('DARTS_V1', 'digits'),
    config='evaluate_digits',
    **{**TINY, 'epochs': 1, 'data__examples': 50},
  )
  assert network.genotype == published.CELLS['DARTS_V1'].genotype
  about = recorded(network)
  assert about['config']['data']['holdout'] == 10


@pytest.mark.parametrize(
  'given, says',
  [
    ({'method': 'sd_dart'}, "unknown method 'sd_dart': did you mean sd_darts"),
    ({'method': 'SD-DARTS'}, 'did you mean sd_darts'),
    ({'method': ['darts']}, "unknown method ['darts']"),
    ({'model.channels': 4}, 'write two underscores for a dot, as model__chan'),
    ({'model': {'chanels': 4}}, 'did you mean model.channels'),
    ({'model__chanels': 4}, 'did you mean model.channels'),
    ({'config': 'search_digit'}, 'did you mean configs/search_digits.py?'),
    ({'config': 'evaluate_digits'}, 'is of the task evaluate'),
    ({'batch_size': 64}, 'larger than half the data'),
    ({'epochs': 0}, 'epochs must'),
    ({'images': 'digits'}, 'has its own labels'),
    ({'images': np.zeros((80, 8, 8))}, 'images must be uint8'),
    (
      {'images': np.zeros((4, 8, 8), np.uint8), 'labels': [0, 1] * 2},
      'give more',
    ),
    ({'images': './none', 'labels': None}, 'there is nothing at ./none'),
    ({'labels': None}, 'come with their labels'),
    ({'labels': ['a', 'b'] * 40}, 'np.unique(labels, return_inverse=True)[1]'),
    ({'test': (np.zeros((2, 8, 8), np.uint8),)}, 'for `test` too'),
    ({'epochs': 'many'}, "epochs must be of type int, not 'many'"),
    ({'method': None}, 'unknown method None'),
    ({'config': 'none/mine.py'}, 'mine.py'),
  ],
)
def test_what_cannot_be_is_a_sentence(given, says, digits, tmp_path):
  images, labels = digits
  named = {'images': images, 'labels': labels, 'config': 'search_digits'}
  named |= {**TINY, 'workdir': tmp_path / 'new', **given}
  with pytest.raises(errors.BadInput, match=re.escape(says)):
    sdnas_jax.search(**named)
  assert not (tmp_path / 'new').exists()


def test_a_thread_searches_as_well(digits, home):
  came = []

  def call():
    given = {**TINY, 'seed': 2, 'epochs': 1}
    came.append(sdnas_jax.search('digits', config='search_digits', **given))

  thread = threading.Thread(target=call)
  thread.start()
  thread.join()
  # 359 of 1,797 are put aside, and the rest halved.
  assert recorded(came[0])['config']['data']['examples'] == 1438
  assert came[0].accuracy > 0


def test_the_package_says_what_it_has():
  assert {'search', 'train', 'load'} <= {*dir(sdnas_jax)}
  with pytest.raises(AttributeError, match='no attribute'):
    sdnas_jax.serch  # noqa: B018

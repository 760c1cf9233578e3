"""How a supernet ranks architectures, against nets applied one by one."""

import functools
import html
import itertools
import shutil

import jax
import numpy as np
import pytest

from configs import search_digits
from configs import search_nasbench201
from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.analysis import nasbench201 as table
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.tasks import check
from sdnas_jax.tasks import rank
from sdnas_jax.tasks import search
from tests.tasks import nasbench201_test


def config(samples, batches=16):
  made = nasbench201_test.searching()
  made.rank.samples, made.rank.batches = samples, batches
  return made


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
  """Two folders of one search, ranked at once and never; and how it ended."""
  at_once, never = (tmp_path_factory.mktemp('runs') / n for n in ('a', 'b'))
  given, add = [], rank.add
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      rank, 'add', lambda *at, **how: given.append(at) or add(*at, **how)
    )
    search.run(config(3), at_once, dry_run=False)
    search.run(config(0), never, dry_run=False)
  return at_once, never, given[0]


def by_hand(apply, variables, setup, images, labels, index):
  """The accuracy of one architecture, without padding any batch."""
  cell = cells.cell(index)
  mix = [[float(own == op) for op in cells.OPERATIONS] for own in cell]
  right = 0
  for begin in range(0, len(labels), setup.batch_size):
    part = slice(begin, begin + setup.batch_size)
    ready = (images[part] / 255 - setup.mean) / setup.std
    logits, _ = apply(variables, np.float32(ready), {'cell': np.float32(mix)})
    right += np.sum(np.asarray(logits).argmax(axis=1) == labels[part])
  return right / len(labels)


def test_the_rows_are_the_sample_each_by_hand_and_the_table_s(ended, tmp_path):
  _, _, (view, _, data) = ended
  setup, state, valid = view.setup, view.state, view.valid
  # Barely trained, it takes all images for one class; this one does not.
  w = dict(state.params['weights'])
  kernel = np.array(w['classifier']['kernel'])
  kernel -= kernel.mean(axis=1, keepdims=True)
  w['classifier'] = {'kernel': kernel, 'bias': np.zeros(10, np.float32)}
  params = {**state.params, 'weights': parallel.replicate(w)}
  ranked = view.replace(state=state._replace(params=params))
  rank.add(ranked, tmp_path, data, samples=8, batches=16)
  rows = artifacts.read_rows(tmp_path / 'rank.csv')

  images, labels = map(np.asarray, valid)
  assert len(labels) % setup.batch_size
  variables = {'params': w, 'batch_stats': state.stats}
  own = {'train': True, 'mutable': ['batch_stats']}
  apply = jax.jit(functools.partial(setup.net.apply, **own))
  assert [int(row['index']) for row in rows] == rank.drawn(0, 8)
  for row in rows:
    cell = cells.cell(int(row['index']))
    assert row['architecture'] == cells.text(cell)
    assert int(row['skip_connections']) == cell.count('skip_connect')
    assert int(row['images']) == len(labels)
    known = table.query(cell).cifar10.test / 100
    assert float(row['true_accuracy']) == pytest.approx(known, abs=1e-6)
    given = apply, variables, setup, images, labels
    found = by_hand(*given, int(row['index']))
    assert float(row['supernet_accuracy']) == pytest.approx(found, abs=1e-6)
  assert len({row['supernet_accuracy'] for row in rows}) > 4


def test_asked_later_it_is_the_same_and_more_is_measured_anew(
  ended, tmp_path, capsys
):
  at_once, never, _ = ended
  assert not (never / 'rank.csv').exists()
  later = shutil.copytree(never, tmp_path / 'later')
  search.run(config(3), later, dry_run=False)
  name = 'rank.csv'
  assert (later / name).read_bytes() == (at_once / name).read_bytes()
  assert (later / 'rank.png').read_bytes().startswith(b'\x89PNG')
  told = rank.told(rank.read(later / name, 'digits'))
  assert told in capsys.readouterr().out
  assert told in html.unescape((later / 'report.html').read_text())
  results = [artifacts.read_json(p / 'result.json') for p in (later, never)]
  assert results[0] == results[1]
  assert not artifacts.broken(later)

  # What is there is kept; another sample, or other images, are not there.
  text, file = (later / name).read_text(), (later / name).stat().st_ino
  search.run(config(3), later, dry_run=False)
  assert (later / name).stat().st_ino == file
  # Nor is what was changed since.
  (later / name).write_text(text.replace(',0.', ',1.'))
  search.run(config(3), later, dry_run=False)
  assert (later / name).read_text() == text
  search.run(config(4), later, dry_run=False)
  more = (later / name).read_text()
  assert more.startswith(text) and len(more.splitlines()) == 5
  search.run(config(4, batches=1), later, dry_run=False)
  rows = artifacts.read_rows(later / name)
  assert [row['images'] for row in rows] == ['16'] * 4


def test_a_sample_has_none_twice_and_follows_from_the_seed():
  some = rank.drawn(5, 300)
  assert len(set(some)) == 300 and rank.drawn(5, 300) == some
  assert rank.drawn(5, 400)[:300] == some != rank.drawn(6, 300)
  assert sorted(rank.drawn(5, cells.SIZE)) == list(range(cells.SIZE))


def pairs(x, y):
  """Kendall's tau-b, pair by pair."""
  signs = [
    (np.sign(x[i] - x[j]), np.sign(y[i] - y[j]))
    for i, j in itertools.combinations(range(len(x)), 2)
  ]
  agree = sum(a * b for a, b in signs)
  untied = [sum(pair[k] != 0 for pair in signs) for k in (0, 1)]
  return agree / np.sqrt(untied[0] * untied[1])


def test_tau_is_that_of_all_pairs():
  rng = np.random.default_rng(0)
  found = np.round(rng.random((41, 3)), 1)
  found[:, 0] += 0.5 * found[:, 1]
  expected = pairs(found[:, 0], found[:, 1])
  assert rank.tau(found) == pytest.approx(expected)
  better = found[np.argsort(-found[:, 1], kind='stable')]
  better = better[better[:, 1] >= better[20, 1]]
  half = pairs(better[:, 0], better[:, 1])
  assert rank.told(found) == (
    f"Kendall's tau: {expected:.3f} of all 41 architectures, "
    f'{half:.3f} of the better half'
  )
  for few in range(1, 4):
    assert np.isnan(rank.tau(np.ones((few, 3))))


@pytest.mark.parametrize(
  'change, says',
  [
    ({'rank.samples': -1}, r'rank.samples must be in \[0, 15625\], not -1'),
    ({'rank.samples': 15_626}, r'must be in \[0, 15625\], not 15626'),
    ({'rank.batches': 0}, 'rank.batches must be at least 1, not 0'),
  ],
)
def test_bad_fields(change, says):
  made = search_nasbench201.get_config()
  made.update_from_flattened_dict(change)
  with pytest.raises(errors.BadInput, match=says):
    check.search(made)


def test_other_spaces_have_no_table_to_rank_by():
  made = search_digits.get_config()
  with made.unlocked():
    made.rank = {'samples': 3, 'batches': 1}
  with pytest.raises(errors.BadInput, match=r'unknown config field.*rank'):
    check.search(made)

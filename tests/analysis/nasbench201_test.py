"""The table: published figures, counts by hand, its command, its making."""

import csv
import gzip
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import nasbench201_build
from sdnas_jax import errors
from sdnas_jax.analysis import nasbench201
from sdnas_jax.spaces import nasbench201 as space

ROOT = pathlib.Path(__file__).parent.parent.parent


def six(name):
  return nasbench201.query((name,) * 6)


def figures(record):
  return [round(x, 2) for one in record[-3:] for x in (one.valid, one.test)]


def test_published_accuracies():
  skips = [39.77, 54.30, 15.03, 15.61, 16.43, 16.32]
  assert figures(nasbench201.query(1835)) == skips
  found = nasbench201.query(9930)
  assert figures(found) == [91.55, 94.36, 73.49, 73.51, 46.37, 46.34]
  assert nasbench201.query(space.text(found.cell)) == found
  assert nasbench201.query(found.cell) == found
  assert nasbench201.query(np.int64(9930)) == found
  assert (found.cifar10.valid12, found.cifar10.test12) == (84.746, 88.66)
  best = [
    round(float(nasbench201.column(name, 200, split).max()), 2)
    for name in nasbench201.DATASETS
    for split in nasbench201.SPLITS
  ]
  assert best == [91.61, 94.37, 73.49, 73.51, 46.73, 47.31]


def test_published_sizes():
  for name, sizes, adds in (
    ('skip_connect', (73306, 79156, 80456), 7.783),
    ('nor_conv_1x1', (241306, 247156, 248456), 31.376),
    ('nor_conv_3x3', (1531546, 1537396, 1538696), 220.12),
  ):
    record = six(name)
    assert tuple(one.parameters for one in record[-3:]) == sizes
    assert record.multiply_adds == pytest.approx(adds, abs=5e-4)


def convolution(size, inputs, outputs, side):
  """Parameters, with those of the normalisation, and multiply-adds."""
  kernel = size * size * inputs * outputs
  return np.array([kernel + 2 * outputs, kernel * side * side])


def fixed(classes):
  """All but the cells: stem, two residual blocks, last norm, classifier."""
  count = convolution(3, 3, 16, 32)
  for inputs, side in ((16, 16), (32, 8)):
    outputs = 2 * inputs
    count += convolution(3, inputs, outputs, side)
    count += convolution(3, outputs, outputs, side)
    shortcut = inputs * outputs  # without a normalisation
    count += np.array([shortcut, shortcut * side * side])
  return count + np.array([2 * 64 + (64 + 1) * classes, (64 + 1) * classes])


def test_the_sizes_of_every_cell_by_hand():
  stages = (16, 32), (32, 16), (64, 8)
  cost = dict.fromkeys(space.OPERATIONS, np.zeros(2, int))
  for size in (1, 3):
    each = [convolution(size, width, width, side) for width, side in stages]
    cost[f'nor_conv_{size}x{size}'] = 5 * sum(each)
  table = nasbench201.table()
  counts = np.array(
    [sum(cost[op] for op in space.cell(k)) for k in range(space.SIZE)]
  )
  for place, classes in enumerate((10, 100, 120)):
    expected = counts[:, 0] + fixed(classes)[0]
    np.testing.assert_array_equal(table.parameters[:, place], expected)
  adds = (counts[:, 1] + fixed(10)[1]) / 1e6
  np.testing.assert_allclose(table.multiply_adds, adds, rtol=0, atol=5.1e-5)


@pytest.mark.parametrize('place', range(3))
def test_the_rank_counts_the_better_ones(place):
  test = nasbench201.column(nasbench201.DATASETS[place], 200, 'test')
  for index in (0, 1835, 9930, int(test.argmax()), int(test.argmin())):
    better = sum(float(other) > test[index] for other in test)
    assert nasbench201.query(index)[-3 + place].rank == 1 + better


def test_what_is_not_in_the_table_is_refused():
  for wrong, says in (
    (('cifar', 200, 'test'), 'did you mean cifar10'),
    (('cifar10', 90, 'test'), 'choose one of 12, 200'),
    (('cifar10', 200, 'train'), "unknown split 'train'"),
  ):
    with pytest.raises(errors.BadInput, match=says):
      nasbench201.column(*wrong)


def run(*arguments, module='sdnas_jax.analysis.nasbench201'):
  return subprocess.run(
    [sys.executable, '-m', module, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


@pytest.mark.parametrize('which', ['9930', space.text(space.cell(9930))])
def test_the_command_prints_a_record(which):
  done = run(which)
  assert (done.returncode, done.stderr) == (0, '')
  assert max(map(len, done.stdout.splitlines())) <= 80
  rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[-3:])
  assert rows['cifar10'].split() == [
    *('84.75', '88.66', '91.55', '94.36'),
    *('3', '1,288,506'),
  ]


@pytest.mark.parametrize(
  'which, says',
  [('|none~0|+|none~0|none~0|', 'character 23'), ('-1', '0 to 15624')],
)
def test_the_command_refuses_in_one_sentence(which, says):
  done = run(which)
  assert (done.returncode, done.stdout) == (2, '')
  assert says in done.stderr and len(done.stderr.splitlines()) == 1


def write(path, change):
  """The table as its CSV, the rows changed by a function of the list."""
  known = nasbench201.table()
  flat = known.accuracy.reshape(space.SIZE, -1)
  rows = []
  for k in range(space.SIZE):
    row = {'arch': space.text(space.cell(k))}
    row |= zip(nasbench201_build.ACCURACIES, flat[k].tolist(), strict=True)
    sizes = known.parameters[k].tolist()
    row |= zip(nasbench201_build.PARAMETERS, sizes, strict=True)
    row['flops_c10_M'] = float(known.multiply_adds[k])
    rows.append(row)
  rows = change(rows)
  with gzip.open(path, 'wt', newline='') as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)


def test_the_table_is_made_again_from_what_it_says(tmp_path):
  source = tmp_path / 'table.csv.gz'
  write(source, lambda rows: rows)
  one, two = tmp_path / 'one.npz', tmp_path / 'two.npz'
  nasbench201_build.build(source, one)
  nasbench201_build.build(source, two)
  assert one.read_bytes() == two.read_bytes()
  with np.load(one) as made, np.load(nasbench201.FILE) as kept:
    assert sorted(made) == sorted(kept)
    for name in made:
      assert made[name].dtype == kept[name].dtype
      np.testing.assert_array_equal(made[name], kept[name])


def swap(rows):
  return [rows[1], rows[0], *rows[2:]]


def drop(rows):
  return [{k: v for k, v in row.items() if k != 'c10_test'} for row in rows]


@pytest.mark.parametrize(
  'change, says',
  [
    (swap, "row 0 of .* the benchmark's index"),
    (drop, 'lacks the columns c10_test'),
    (lambda rows: rows[:-1], '15624 rows'),
  ],
)
def test_another_csv_is_refused(change, says, tmp_path):
  source = tmp_path / 'table.csv.gz'
  write(source, change)
  with pytest.raises(errors.BadInput, match=says):
    nasbench201_build.build(source, tmp_path / 'out.npz')
  assert not (tmp_path / 'out.npz').exists()


def test_the_building_command_refuses_in_one_sentence(tmp_path):
  done = run(
    str(tmp_path / 'none.csv.gz'), module='benchmarks.nasbench201_build'
  )
  assert done.returncode == 2 and 'none.csv.gz' in done.stderr
  assert len(done.stderr.splitlines()) == 1

"""benchmarks/scaling.py with figures made up: its rows and its picture."""

import csv
import importlib
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def scaling(tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(ROOT / 'benchmarks')
  flags = '--vary', 'batch=16,32', 'layers=2', f'--out={tmp_path}'
  monkeypatch.setattr(sys, 'argv', ['scaling.py', *flags])
  return importlib.import_module('scaling')


def test_each_space_is_varied_between_two_bases(scaling, tmp_path, monkeypatch):
  asked = []

  def measure(space, values, rounds):
    asked.append((space, values['batch'], values['layers']))
    if asked[-1] == ('darts', 16, 1) and len(asked) == 1:
      raise EOFError  # its process was killed
    figures = 0.1 * values['batch'] * values['layers'], 1.0, 0.1, 3.0
    return dict(zip(scaling.COLUMNS, figures, strict=True))

  monkeypatch.setattr(scaling, 'measure', measure)
  scaling.main()
  own = (16, 1), (32, 1), (16, 2), (16, 1)
  expected = [(space, *point) for space in scaling.SPACES for point in own]
  assert asked == expected
  text = (tmp_path / 'scaling.csv').read_text()
  rows = [*csv.DictReader(text.splitlines())]
  assert len(rows) == len(expected) - 1
  for row, (space, batch, layers) in zip(rows, expected[1:], strict=True):
    got = row['space'], int(row['batch']), int(row['layers'])
    assert got == (space, batch, layers)
    assert float(row['seconds']) == pytest.approx(0.1 * batch * layers)
  assert (tmp_path / 'scaling.png').read_bytes().startswith(b'\x89PNG')

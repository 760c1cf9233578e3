"""benchmarks/gpu.py on a supernet of one convolution: its tables, its choice.

No time is looked at, but which of two was the shorter.
"""

import importlib
import json
import pathlib

import jax
import pytest

from sdnas_jax.kernels import choice
from sdnas_jax.kernels import depthwise
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

ROOT = pathlib.Path(__file__).parent.parent
TINY = '--batch=2', '--channels=2', '--layers=1', '--rounds=1'
WAYS = 'grouped', 'shifted', 'space_to_batch'
ROWS = [(dtype, way) for dtype in ('float32', 'bfloat16') for way in WAYS]


@pytest.fixture
def gpu(tmp_path, monkeypatch):
  """The script, of which `shifted` fails, as some device's compiler does."""

  def fail(*given):
    raise jax.errors.JaxRuntimeError('INTERNAL: no algorithm\n worked')

  primitives = 'none', 'skip_connect', 'dil_conv_5x5'
  small = spaces.Space(name='darts', primitives=primitives, nodes=1)
  monkeypatch.syspath_prepend(ROOT / 'benchmarks')
  monkeypatch.setitem(SPACES, 'darts', small)
  monkeypatch.setitem(depthwise.BACKENDS, 'shifted', fail)
  monkeypatch.setattr(choice, 'ways', lambda bf16: WAYS)
  monkeypatch.setattr(choice, 'FILE', 'depthwise.json')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  choice.noted.cache_clear()
  yield importlib.import_module('gpu')
  choice.noted.cache_clear()


def test_all_ways_are_timed_and_the_fastest_is_auto(gpu, capsys, tmp_path):
  known = {'another kind': {'float32': 'dense'}}
  choice.path().write_text(json.dumps(known))
  gpu.main(TINY)
  first, second, last = capsys.readouterr().out.split('\n\n')
  _, head, *rows = first.splitlines()
  assert head.split() == [*gpu.SHAPE, 'type', 'way', *gpu.PASSES, 'us']
  # The one cell is a reduction, with twice the channels.
  shape = ['5', '2', '2', '4', '32']
  assert [row.split()[:7] for row in rows] == [[*shape, *row] for row in ROWS]
  found = {}
  for row, (dtype, way) in zip(second.splitlines()[1:], ROWS, strict=True):
    assert row.split()[:2] == [dtype, way]
    found.setdefault(dtype, {})[way] = row.split()[2]
  for row in (*rows, *second.splitlines()[1:]):
    failed = 'shifted' in row
    assert ('-  INTERNAL: no algorithm worked' in row) == failed
  said, numbers = last.splitlines()
  numbers = json.loads(numbers)
  best = {}
  for dtype, own in numbers.items():
    assert own == pytest.approx(
      {way: float(t) for way, t in found[dtype].items() if t != '-'}, abs=6e-5
    )
    best[dtype] = min(own, key=own.get)
  kind = jax.devices()[0].device_kind
  assert json.loads(choice.path().read_text()) == known | {kind: best}
  assert str(tmp_path) in said and kind in said
  assert (choice.best(), choice.best(True)) == tuple(best.values())


def test_the_shapes_are_the_supernet_s(gpu, monkeypatch):
  """Those of three cells of 2, 4 and 8 channels, counted by hand."""
  primitives = 'none', 'sep_conv_3x3', 'dil_conv_5x5'
  larger = spaces.Space(name='darts', primitives=primitives, nodes=2)
  monkeypatch.setitem(SPACES, 'darts', larger)
  args = gpu.search_step.sized('').parse_args([*TINY, '--layers=3'])
  override = gpu.search_step.sizes(args) | {'model.depthwise': 'grouped'}
  _, _, setup = gpu.search_step.assemble(gpu.search_step.Point(override))
  # From an input leave 2 edges, with stride 2 if the cell reduces; from the
  # first node 1. The second of twice a convolution has stride 1.
  assert gpu.shapes(setup.net) == {
    (3, 1, 1, 2, 32): 2,
    (3, 1, 1, 4, 16): 2,
    (3, 1, 1, 8, 8): 2,
    (3, 1, 2, 4, 32): 2,
    (3, 1, 2, 8, 16): 2,
    (5, 2, 1, 2, 32): 2,
    (5, 2, 1, 4, 16): 1,
    (5, 2, 1, 8, 8): 1,
    (5, 2, 2, 4, 32): 2,
    (5, 2, 2, 8, 16): 2,
  }

"""What a plan says of memory, against sizes counted by hand."""

import json
import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax import compilation
from sdnas_jax.tasks import memory
from tests import launch_test

GB = 2**30
SEARCH = launch_test.TINY
TRAIN = (
  '--config=configs/evaluate_digits.py',
  '--config.data.examples=60',
  '--config.data.holdout=20',
  '--config.batch_size=16',
  '--config.model.layers=1',
  '--config.model.channels=2',
)


def added(x, y):
  return x + y


def moved(x, y):
  return x + y


def squared(x, y):
  """Keeps two matrices at least in memory until they meet."""
  far = jnp.cumsum(x @ y, axis=0)
  return jnp.sum(far @ jnp.sort(x, axis=0))


def test_what_is_planned_is_the_largest_program_s(capsys):
  x = jax.ShapeDtypeStruct((128, 128), jnp.float32)
  one = 4 * 128**2
  assert memory.size((x, x)) == 2 * one
  add = compilation.Program(added, (x, x))
  plan = memory.planned([add], (x, x, x))  # one is of no use to it
  assert plan == {'temporary_bytes': 0, 'device_bytes': 4 * one}
  move = compilation.Program(moved, (x, x), donated=(0,))
  assert memory.planned([move], (x, x))['device_bytes'] == 2 * one
  far = compilation.Program(squared, (x, x))
  plan = memory.planned([move, far, move], (x, x))
  assert plan['temporary_bytes'] >= 2 * one
  assert plan['device_bytes'] == 2 * one + 4 + plan['temporary_bytes']
  said = capsys.readouterr().out.splitlines()
  assert len(said) == 3 and all(s.endswith(': it fits') for s in said)


@pytest.mark.parametrize(
  'stats, needed, says',
  [
    ({'bytes_limit': 6 * GB}, 5 * GB, '5.00 GB of 6.00: it fits'),
    ({'bytes_limit': 6 * GB}, 7 * GB, 'not fit, so lower batch_size'),
    ({'bytes_in_use': 3}, 7 * GB, 'each device needs 7.00 GB'),
    (None, 7 * GB, 'each device needs 7.00 GB'),
  ],
)
def test_a_device_s_memory_is_what_it_says(monkeypatch, stats, needed, says):
  device = types.SimpleNamespace(memory_stats=lambda: stats)
  monkeypatch.setattr(jax, 'local_devices', lambda: [device])
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert memory.verdict(needed).endswith(says) or says in memory.verdict(needed)


def test_cpus_share_the_machine_s(monkeypatch):
  sizes = {'SC_PHYS_PAGES': 6, 'SC_PAGE_SIZE': GB}
  monkeypatch.setattr(os, 'sysconf', sizes.__getitem__)
  monkeypatch.setattr(jax, 'local_device_count', lambda: 2)
  assert memory.limit() == 3 * GB
  monkeypatch.delattr(os, 'sysconf')
  assert memory.limit() == 0 and 'fit' not in memory.verdict(GB)


@pytest.mark.parametrize(
  'flags, own, images',
  [
    # 28 x 8 alphas, which Adam has twice more, and two counts.
    ([*SEARCH, '--config.sharpness.every=1'], 2 * 14 * 8, 56),
    (TRAIN, 0, 60),
  ],
)
def test_memory_is_planned_by_field(here, tmp_path, flags, own, images):
  plans = []
  for dry in ('--dry_run', '--dry_run=memory'):
    code, out, error = here(*flags, dry, f'--workdir={tmp_path}')
    assert code == 0, error
    plans.append(json.loads((tmp_path / 'plan.json').read_text()))
    assert ('each device needs' in out) == (dry == '--dry_run=memory')
  assert os.listdir(tmp_path) == ['plan.json']
  plain, plan = plans
  assert plan.items() >= plain.items()
  assert plan.keys() - plain.keys() == {'temporary_bytes', 'device_bytes'}
  count = 'supernet_parameters' if own else 'parameters'
  assert plan['weights_bytes'] > 4 * (plan[count] + own)  # with statistics
  momenta = plan['optimiser_bytes'] - 4 * (plan[count] + 2 * own)
  assert 0 <= momenta < 64
  assert plan['image_bytes'] == images * 64
  ours = [plan.get(f'{name}_bytes', 0) for name in ('weights', 'optimiser')]
  ours += [plan.get('ring_bytes', 0), plan['image_bytes']]
  assert plan['temporary_bytes'] > 16 * 64 * 4  # a batch, as floats
  extra = plan['device_bytes'] - plan['temporary_bytes'] - sum(ours)
  assert 0 < extra < 10_000  # labels, rates, sums


def test_no_other_word_is_a_dry_run(here, tmp_path):
  code, _, error = here(*SEARCH, '--dry_run=disk', f'--workdir={tmp_path}/new')
  assert code == 2 and 'dry_run' in error and 'disk' in error
  np.testing.assert_array_equal(os.listdir(tmp_path), [])

"""DARTS+ stops at the first epoch that a series made by hand says it should."""

import numpy as np
import pytest

from sdnas_jax import methods
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from tests.golden import given

SPACE, EPOCHS = SPACES['darts'], 20
SKIP = [o == 'skip_connect' for o in SPACE.primitives].index(True)


def cell(skips):
  """With so many skips in the normal cell, and eight in the other."""
  ops = ['skip_connect'] * skips + ['sep_conv_3x3'] * (8 - skips)
  return spaces.Genotype(
    'darts',
    tuple(
      (kind, spaces.paired([(op, n % 2) for n, op in enumerate(own)], (2, 3)))
      for kind, own in (('normal', ops), ('reduce', ['skip_connect'] * 8))
    ),
  )


def stopped(series, tables=None, **options):
  """The epoch at which a search ends, asked after each; or None."""
  method = methods.make('darts_plus', options)
  arch = method.init(np.random.default_rng(0), given.net(SPACE), 1e-3)
  for done in range(len(series) + 1):
    past = given.past([{}] * done, EPOCHS)._replace(
      genotypes=[cell(n) for n in series[:done]],
      alphas={k: v[:done] for k, v in (tables or {}).items()},
    )
    if found := method.revise(past, arch, None):
      assert found.stop == done - 1
      return found.stop
  return None


@pytest.mark.parametrize(
  'series, skips, epoch',
  [
    ([0, 1, 1, 2, 1, 3], 2, 3),
    ([0, 1, 1, 2, 1, 3], 3, 5),
    ([2], 2, 0),
    ([0, 4, 0], 2, 1),  # it need not be two exactly
    ([1] * EPOCHS, 2, None),
    ([0] * (EPOCHS - 1) + [2], 2, None),  # it has ended as it is
  ],
)
def test_it_stops_at_the_first_epoch_with_so_many_skips(series, skips, epoch):
  assert stopped(series, skips=skips) == epoch


def ranked(epochs, change):
  """Alphas of growing gaps, of which two swap in some epochs."""
  rng = np.random.default_rng(1)
  first = rng.permuted(np.broadcast_to(np.arange(8.0), SPACE.shape), axis=-1)
  table = np.stack([first * (1 + n) for n in range(epochs)])
  for epoch, (a, b) in change.items():
    table[epoch:, 3, [a, b]] = table[epoch:, 3, [b, a]]
  return {'normal': table, 'reduce': table[:, ::-1]}


@pytest.mark.parametrize(
  'change, epoch',
  [
    ({}, 4),  # four epochs after the first one have its order
    ({2: (4, 5)}, 6),
    ({2: (4, 5), 6: (6, 7)}, 10),
    ({2: (1, SKIP)}, 4),  # operations without weights are not ranked
  ],
)
def test_it_stops_when_the_order_of_convolutions_stands(change, epoch):
  tables = ranked(14, change)
  assert stopped([0] * 14, tables, skips=0, stable=4) == epoch
  assert stopped([0] * 14, tables, skips=2) is None
  assert stopped([0, 0, 2] + [0] * 11, tables, skips=2, stable=4) == 2


@pytest.mark.parametrize('options', [{'skips': 0}, {'skips': -1}])
def test_options_out_of_range(options):
  with pytest.raises(methods.errors.BadInput, match='at least 0'):
    methods.make('darts_plus', options)


def test_a_space_without_skips_is_refused():
  refuse = methods.make('darts_plus', {}).refuse
  assert 's4 has no skip_connect' in refuse(SPACES['s4'], {})
  assert not refuse(SPACES['s1'], {})

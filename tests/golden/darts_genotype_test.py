"""Genotypes and the sizes of networks against DARTS's released code.

README.md beside this file tells what the arrays are.
"""

import pathlib

import numpy as np
import pytest

from sdnas_jax.networks import derived
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

GOLDEN = np.load(pathlib.Path(__file__).with_name('darts.npz'))
DARTS = SPACES['darts']
CIFAR, IMAGENET = (32, 32, 3), (224, 224, 3)


def softmax(alphas):
  weights = np.exp(alphas - alphas.max(axis=1, keepdims=True))
  return weights / weights.sum(axis=1, keepdims=True)


def test_the_operations_are_in_the_release_s_order():
  assert list(DARTS.primitives) == GOLDEN['meta/primitives'].tolist()


@pytest.mark.parametrize('case', GOLDEN['geno/cases'].tolist())
def test_the_strongest(case):
  n = GOLDEN['geno/cases'].tolist().index(case)
  mix = {k: softmax(GOLDEN[f'geno/alpha_{k}'][n]) for k in DARTS.kinds}
  fields = spaces.strongest(DARTS, mix).fields
  for kind in DARTS.kinds:
    found = [(DARTS.primitives.index(op), i) for op, i in fields[kind]]
    np.testing.assert_array_equal(found, GOLDEN[f'geno/{kind}'][n])
    assert fields[f'{kind}_concat'] == (2, 3, 4, 5)


def size(net, image, *more):
  """Parameters without and of the auxiliary head."""
  params = sizing.shapes(net, image, *more)['params']
  head = sizing.size(params.pop('auxiliary', {}))
  return sizing.size(params), head


@pytest.mark.parametrize(
  'name', ['NASNet', 'AmoebaNet', 'DARTS_V1', 'DARTS_V2']
)
def test_the_sizes_of_published_cells(name):
  cell = published.CELLS[name].genotype
  (ten, head), (hundred, _) = (
    size(derived.Derived(cell, classes), CIFAR) for classes in (10, 100)
  )
  wide = derived.Derived(cell, 1000, channels=48, layers=14, imagenet=True)
  thousand, other_head = size(wide, IMAGENET)
  found = ten, hundred, thousand, head, other_head
  np.testing.assert_array_equal(found, GOLDEN[f'count/{name}'])


@pytest.mark.parametrize(
  'name, classes, fields',
  [
    ('supernet_C16_L8', (10, 100), {'channels': 16, 'layers': 8}),
    ('supernet_C4_L5', (10,), {'channels': 4, 'layers': 5}),
  ],
)
def test_the_sizes_of_supernets(name, classes, fields):
  mix = {kind: np.ones(DARTS.shape, np.float32) for kind in DARTS.kinds}
  nets = (supernet.Supernet(DARTS, n, **fields) for n in classes)
  found = [size(net, CIFAR, mix)[0] for net in nets]
  np.testing.assert_array_equal(found, GOLDEN[f'count/{name}'])

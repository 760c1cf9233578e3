"""The exported graph in onnxruntime, against the network itself."""

import sys

import jax
import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.data import augment
from sdnas_jax.data import dataset
from sdnas_jax.networks import derived
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.runs import onnx
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES

onnxruntime = pytest.importorskip('onnxruntime')
checker = pytest.importorskip('onnx.checker')

# Every operation at stride 1 and 2.
PAIRS = (
  *(('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0)),
  *(('sep_conv_3x3', 2), ('sep_conv_5x5', 1), ('dil_conv_3x3', 3)),
  *(('dil_conv_5x5', 0), ('skip_connect', 2), ('sep_conv_7x7', 1)),
  *(('conv_7x1_1x7', 0), ('none', 5), ('sep_conv_3x3', 1)),
)
CELL = spaces.paired(PAIRS, (2, 4, 5, 6, 7))
EVERY = spaces.Genotype('darts', (('normal', CELL), ('reduce', CELL)))
# Nodes of no, one, two and three pairs; node 3 is zero, and concatenated.
NODES = {
  2: [('dil_conv_3x3', 0), ('skip_connect', 0)],
  4: [('sep_conv_3x3', 1), ('max_pool_3x3', 2), ('max_pool_3x3', 2)],
  5: [('sep_conv_5x5', 3), ('skip_connect', 4)],
}
MANY = spaces.Genotype.of(
  SPACES['darts'], {f'cell{n}': NODES for n in range(3)}, (2, 3, 5)
)


def source(*shape):
  deviations = tuple(0.2 + 0.1 * n for n in range(shape[2]))
  means = tuple(0.5 - 0.1 * n for n in range(shape[2]))
  return dataset.Source(0, 0, shape, 7, means, deviations, None)


@pytest.mark.parametrize(
  'genotype, shape, imagenet',
  [
    (EVERY, (32, 32, 3), False),
    (MANY, (9, 13, 1), False),  # odd sizes
    (published.find('DARTS_V2'), (64, 96, 3), True),
  ],
)
def test_logits_are_the_network_s(genotype, shape, imagenet):
  kind = {'imagenet': imagenet, 'depthwise': 'grouped'}
  net = derived.Derived(genotype, 7, 4, 3, **kind, auxiliary=genotype is EVERY)
  rng, images = np.random.default_rng(0), source(*shape)
  variables = sizing.variables(sizing.shapes(net, shape), seed=0)
  variables = jax.tree.map(
    lambda x: x + 0.2 * rng.random(x.shape, np.float32), variables
  )
  model = onnx.model(net, variables, images)
  checker.check_model(model, full_check=True)
  session = onnxruntime.InferenceSession(model)
  for batch in (3, 1):
    x = rng.integers(0, 256, (batch, *shape), np.uint8)
    (logits,) = session.run(None, {'images': x})
    assert logits.dtype == np.float32
    normal = augment.normalize(x, images.mean, images.std)
    ours = net.apply(variables, normal)
    np.testing.assert_allclose(logits, ours, rtol=2e-4, atol=2e-4)


def test_what_cannot_be_is_a_sentence(monkeypatch):
  net = nasbench201.Derived(published.find('5'), 10)
  with pytest.raises(errors.BadInput, match=r'choose \.stablehlo'):
    onnx.model(net, {}, source(32, 32, 3))
  monkeypatch.setitem(sys.modules, 'onnx', None)
  with pytest.raises(errors.BadInput, match='pip install'):
    onnx.model(net, {}, source(32, 32, 3))

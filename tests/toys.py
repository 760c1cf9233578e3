"""A search small enough to compile in seconds, for many tests."""

import jax.numpy as jnp
import numpy as np

from sdnas_jax import parallel
from sdnas_jax import search
from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import split
from sdnas_jax.methods import METHODS
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import space as spaces

SPACE = spaces.Space(
  name='toy',
  primitives=('none', 'avg_pool_3x3', 'skip_connect', 'sep_conv_3x3'),
  nodes=2,
)
IMAGE = (6, 6, 2)
CLASSES = 3


def term(**change):
  """A distillation term, by default the paper's without warm-up."""
  fields = {
    'weight': 1.0,
    'teachers': 2,
    'warmup': 0,
    'metric': 'kl',
    'temperature': 1.0,
    'vote': 'mean',
    'decay': 0.5,
  }
  return distill.make(**{**fields, **change})


def setup(method='darts', batch_size=8, epochs=4, layers=3, **change):
  """The parts of a toy search: by default a normal cell and two reductions."""
  sgd = optimizers.sgd(0.1, 0.9, 3e-4, 5.0)
  adam = optimizers.adam(3e-2, 0.5, 0.999, 1e-3)
  return search.Setup(
    net=supernet.Supernet(SPACE, CLASSES, channels=2, layers=layers),
    tx=optimizers.split(sgd, adam),
    method=METHODS[method],
    distill=term(**change),
    augment=augment.Augment(pad=1, flip=True, cutout=2),
    mean=(0.5, 0.4),
    std=(0.2, 0.3),
    batch_size=batch_size,
    epochs=epochs,
    alpha_warmup=0,
  )


def halves(train=20, valid=18, seed=0):
  """Two halves of random images."""
  rng = np.random.default_rng(seed)

  def half(n):
    images = rng.integers(0, 256, (n, *IMAGE), np.uint8)
    labels = rng.integers(0, CLASSES, n).astype(np.int32)
    return split.Split(jnp.asarray(images), jnp.asarray(labels))

  return half(train), half(valid)


def state(parts, examples=20, seed=0):
  """A first state."""
  mix = {k: jnp.zeros(SPACE.shape) for k in SPACE.kinds}
  variables = sizing.variables(sizing.shapes(parts.net, IMAGE, mix), seed)
  rng = np.random.default_rng(seed)
  alphas = {
    k: 0.5 * rng.standard_normal(SPACE.shape).astype(np.float32)
    for k in SPACE.kinds
  }
  mask = {k: np.ones(SPACE.shape, bool) for k in SPACE.kinds}
  first = search.init(parts, variables, alphas, mask, examples, CLASSES)
  return parallel.replicate(first)

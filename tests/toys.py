"""A search small enough to compile in seconds, for many tests."""

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax import methods
from sdnas_jax import parallel
from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from sdnas_jax.data import augment
from sdnas_jax.data import split
from sdnas_jax.networks import columns
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import search

SPACE = spaces.Space(
  name='toy',
  primitives=('none', 'avg_pool_3x3', 'skip_connect', 'dil_conv_3x3'),
  nodes=2,
)
IMAGE = (6, 6, 2)
CLASSES = 3
# What varies images is a third of the instructions of a search of SPACE.
VARIED = augment.Augment(pad=1, flip=True, cutout=2)
SAME = augment.Augment(pad=0, flip=False, cutout=0)


class Net(supernet.Supernet):
  """Of two layers, one is of each kind."""

  @property
  def cells(self) -> tuple[str, ...]:
    return ('normal', 'reduce') if self.layers == 2 else super().cells


def term(**change):
  """A distillation term, by default the paper's without warm-up."""
  fields = {
    'weight': 1.0,
    'teacher': 'window',
    'teachers': 2,
    'warmup': 0,
    'metric': 'kl',
    'temperature': 1.0,
    'decay': 0.5,
  }
  return distill.make(**{**fields, **change})


RATES = {
  **{'weights.lr': 0.1, 'weights.lr_min': 0.1, 'weights.warmup': 0},
  **{'weights.momentum': 0.9, 'weights.decay': 3e-4, 'weights.clip': 5.0},
  **{'alphas.lr': 3e-2, 'alphas.b1': 0.5, 'alphas.b2': 0.999},
  **{'alphas.decay': 1e-3, 'alphas.clip': 0.0},
}


def setup(
  method='darts',
  batch_size=8,
  epochs=4,
  layers=2,
  options=(),
  augment=SAME,
  **change,
):
  """The parts of a toy search; a method is a name or a value."""
  if isinstance(method, str):
    method = methods.make(method, dict(options))
  return search.Setup(
    net=Net(SPACE, CLASSES, channels=2, layers=layers, **method.model),
    method=method,
    rule=jax.tree_util.Partial(rules.plain),
    alpha_rule=rules.direct,
    schedule=optimizers.cosine,
    nesterov=False,
    distill=term(**change),
    augment=augment,
    mean=(0.5, 0.4),
    std=(0.2, 0.3),
    batch_size=batch_size,
    steps=3,
    before=0,
    epochs=epochs,
    alpha_warmup=0,
    alpha_optimizer=optimizers.OPTIMIZERS[
      method.needs.get('alphas.optimizer', 'adam')
    ],
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
  net = parts.net
  mix = {
    kind: jnp.zeros((*shape[:-1], columns.count(net)))
    for kind, shape in net.tables.items()
  }
  variables = sizing.variables(sizing.shapes(net, IMAGE, mix), seed)
  arch = parts.method.init(np.random.default_rng(seed), net, 0.5)
  first = search.init(parts, variables, arch, RATES, examples, CLASSES)
  return parallel.replicate(first)

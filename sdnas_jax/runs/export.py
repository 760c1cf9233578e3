"""A trained network as StableHLO, which runs without this package:

exported = jax.export.deserialize(pathlib.Path(path).read_bytes())
logits = exported.call(images)  # uint8 [any, height, width, channels]
"""

from typing import Any

import flax.linen as nn
import jax
from jax import export
import jax.numpy as jnp

from sdnas_jax.data import augment
from sdnas_jax.data import dataset

Tree = Any
PLATFORMS = 'cpu', 'cuda', 'tpu'


def stablehlo(net: nn.Module, variables: Tree, source: dataset.Source) -> bytes:
  """The network with its weights and the images' normalisation, serialised."""
  plain = net.clone(depthwise='grouped')  # XLA's own operations alone
  variables = jax.device_get(variables)

  def call(images):
    images = augment.normalize(images, source.mean, source.std)
    return plain.apply(variables, images)

  shape = export.symbolic_shape(f'batch, {", ".join(map(str, source.shape))}')
  images = jax.ShapeDtypeStruct(shape, jnp.uint8)
  # Else the bytes would tell from which lines of the program it was called.
  kept = jax.config.jax_traceback_in_locations_limit
  jax.config.update('jax_traceback_in_locations_limit', 0)
  try:
    made = export.export(jax.jit(call), platforms=PLATFORMS)(images)
  finally:
    jax.config.update('jax_traceback_in_locations_limit', kept)
  return made.serialize()

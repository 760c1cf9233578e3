"""TensorFlow, kept quiet and off the accelerator, for TFDS."""

import functools
import os
import types


@functools.cache
def prepare() -> types.ModuleType:
  """TensorFlow, whose import takes seconds, before others import it loudly."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  # What its C++ writes to stderr, no logging level hides.
  kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, 2)
  try:
    import tensorflow

    tensorflow.config.set_visible_devices([], 'GPU')
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(null)
  return tensorflow

"""TensorFlow, kept quiet and off the accelerator, for TFDS."""

from collections.abc import Iterator
import contextlib
import functools
import os
import types


@contextlib.contextmanager
def _silence() -> Iterator[None]:
  """Hides what C++ writes to stderr, which no logging level does."""
  kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, 2)
  try:
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(null)


@functools.cache
def prepare() -> types.ModuleType:
  """TensorFlow, whose import takes seconds, before others import it loudly."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  with _silence():
    import tensorflow

    tensorflow.config.set_visible_devices([], 'GPU')
  return tensorflow

"""Compiles at once, and keeps the results on disk for the next run."""

from concurrent import futures
import os
import pathlib

import jax


def folder() -> pathlib.Path:
  """The user's cache folder."""
  home = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(home) / 'sdnas_jax'


def keep() -> None:
  """Turns JAX's persistent cache on, in the user's cache folder.

  JAX_COMPILATION_CACHE_DIR names another place.
  """
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update('jax_compilation_cache_dir', str(folder() / 'xla'))


def together(*lowered: jax.stages.Lowered) -> list[jax.stages.Compiled]:
  """Compiles several programs at the same time."""
  with futures.ThreadPoolExecutor() as pool:
    return list(pool.map(lambda program: program.compile(), lowered))

"""What the suite compiled, kept for its next run.

A session works in a folder of its own, since tests kill processes that write
there. What is whole at its end is kept in the user's cache.
"""

from concurrent import futures
import pathlib
import shutil
import tempfile
import types
import zlib

from jax._src import compilation_cache

from sdnas_jax import compilation

MOST = 2 * 2**30  # bytes kept; beyond it all begins anew


def faster() -> None:
  """Where JAX packs by zlib, it does at a third of the cost."""
  compilation_cache.zlib = types.SimpleNamespace(
    compress=lambda content: zlib.compress(content, 1),
    decompress=zlib.decompress,
  )


def fetch(session: pathlib.Path) -> None:
  """Brings what earlier sessions kept."""
  for file in folder().glob('*-cache'):
    shutil.copyfile(file, session / file.name)


def keep(session: pathlib.Path) -> None:
  """Keeps what is new and whole."""
  kept = folder()
  if sum(file.stat().st_size for file in kept.glob('*')) > MOST:
    shutil.rmtree(kept)
  kept.mkdir(parents=True, exist_ok=True)
  there = {file.name for file in kept.iterdir()}

  def one(file):
    content = file.read_bytes()
    if whole(content):
      with tempfile.NamedTemporaryFile(dir=kept, delete=False) as part:
        part.write(content)
      pathlib.Path(part.name).replace(kept / file.name)

  new = [f for f in session.glob('*-cache') if f.name not in there]
  with futures.ThreadPoolExecutor() as pool:
    list(pool.map(one, new))


def folder() -> pathlib.Path:
  """Where it is kept."""
  return compilation.folder() / 'tests'


def whole(content: bytes) -> bool:
  """Whether a file was written to its end."""
  try:
    return bool(compilation_cache.decompress_executable(content))
  except Exception:  # of the types of one library or another
    return False

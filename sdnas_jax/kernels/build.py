"""Compiles this folder's C++ once, on first use, and hands it to XLA.

A library is one source, for numbers of one type. The compiler is $CXX, c++,
g++ or clang++; what it makes goes into the user's cache, or, where that cannot
be written, into a temporary folder.
"""

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile
from typing import Any
import warnings

import jax
import jax.numpy as jnp
import jaxlib

from sdnas_jax import compilation
from sdnas_jax import parallel

FLAGS = '-std=c++17 -O3 -march=native -fPIC -shared -DNDEBUG'
# Of what has rows of the batch; all else in `real` of it.
TYPES = {'float32': 'F32', 'float64': 'F64', 'bfloat16': 'BF16'}
# What a search calls, the longest to compile first.
USUAL = 'separable', 'convolution', 'sums', 'pool'


class Unavailable(Exception):
  """Why a library could not be had, in one sentence."""


def call(
  source: str,
  name: str,
  shape: Sequence[int] | None,
  *operands: jax.Array,
  whole: int = 0,
  totals: Sequence[Sequence[int]] = (),
  **attributes: Any,
) -> Any:
  """Calls a C++ function on arrays of one dtype, inside jit.

  Args:
    source: the file that holds it, without its ending.
    name: of the function.
    shape: of the result that has rows of the batch, or None.
    *operands: of one of `TYPES`. Each device calls the function with its own
      rows of the batch, see `parallel.rows`.
    whole: number of operands, the last ones, that every device needs whole, and
      that are `real`.
    totals: shapes of the results that are sums over rows, and `real`.
    **attributes: further arguments, static NumPy values.

  Returns:
    The one result, or a list of them, that which has rows first.

  Raises:
    Unavailable: there is no compiler.
  """
  dtype = operands[0].dtype
  target = _target(source, name, dtype.name)

  def local(*own):
    out = [jax.ShapeDtypeStruct(s, real(dtype)) for s in totals]
    if shape:
      mine = shape[0], own[0].shape[1], *shape[2:]
      out.insert(0, jax.ShapeDtypeStruct(mine, dtype))
    return jax.ffi.ffi_call(target, out)(*own, **attributes)

  out = parallel.rows(local, whole, shape is not None, len(totals))(*operands)
  return out if totals else out[0]


def real(dtype: jnp.dtype) -> jnp.dtype:
  """In which sums over numbers of a type are taken, and parameters given."""
  return jnp.promote_types(dtype, jnp.float32)


def keep(f: Callable[..., Any], static: int = 1) -> Callable[..., Any]:
  """Calls f, and keeps its operands, but the last static ones, for its vjp."""
  return lambda *operands: (f(*operands), operands[: len(operands) - static])


@functools.cache
def begin(dtype: str = 'float32') -> list[futures.Future]:
  """Starts to compile the usual libraries, while the caller does other things.

  Returns:
    Their promises.
  """
  pool = futures.ThreadPoolExecutor()
  return [pool.submit(library, source, dtype) for source in USUAL]


@functools.cache
def available(dtype: str = 'float32') -> bool:
  """Whether `call` works; if not, one warning says why."""
  try:
    for promise in begin(dtype):
      promise.result()
  except Unavailable as error:
    warnings.warn(f'{error}; going on with slower ones', stacklevel=2)
    return False
  return True


@functools.cache
def _target(source, name, dtype):
  loaded, version = library(source, dtype)
  # A compiled program in the persistent cache calls the function it was
  # compiled for, so another version has another name.
  target = f'sdnas_jax_{name}_{version}'
  capsule = jax.ffi.pycapsule(getattr(loaded, f'call_{name}'))
  jax.ffi.register_ffi_target(target, capsule, platform='cpu')
  return target


@functools.cache
def library(source: str, dtype: str) -> tuple[ctypes.CDLL, str]:
  """A source, compiled for one of `TYPES`, and its version.

  Raises:
    Unavailable: there is no compiler, or it fails.
  """
  folder = pathlib.Path(__file__).parent
  file, compiler = folder / f'{source}.cc', _compiler()
  text = ''.join(p.read_text() for p in (file, *sorted(folder.glob('*.h'))))
  include = jax.ffi.include_dir()
  kind = f'-DTYPE={TYPES[dtype]}'
  command = [*compiler, *FLAGS.split(), kind, '-isystem', include]
  parts = text, jaxlib.__version__, *command, _cpu()
  version = _digest('\0'.join(parts).encode())
  try:
    return _load(compilation.folder() / 'native', file, command, version)
  except OSError:  # a folder that cannot be written, or a disk that is full
    pass
  with tempfile.TemporaryDirectory() as folder:
    try:
      return _load(pathlib.Path(folder), file, command, version)
    except OSError as error:
      raise Unavailable(f'no C++ kernels could be loaded: {error}') from None


def _load(folder, source, command, version):
  stem = f'{source.stem}-{version}'
  for path in folder.glob(f'{stem}-*.so'):
    # To load half a file, as a crash of the system leaves it, ends the process.
    if path.stem == f'{stem}-{_digest(path.read_bytes())}':
      return ctypes.CDLL(path), version
  folder.mkdir(parents=True, exist_ok=True)
  handle, fresh = tempfile.mkstemp(suffix='.so', dir=folder)
  os.close(handle)
  fresh = pathlib.Path(fresh)
  try:
    done = _run([*command, str(source), '-o', str(fresh)])
    if done.returncode:
      reason = (done.stderr.strip() or 'no reason given').splitlines()[-1]
      raise Unavailable(f'compiling the C++ kernels failed: {reason}')
    path = folder / f'{stem}-{_digest(fresh.read_bytes())}.so'
    fresh.replace(path)
  finally:
    fresh.unlink(missing_ok=True)
  return ctypes.CDLL(path), version


def _run(command):
  try:
    return subprocess.run(command, capture_output=True, text=True)
  except OSError:  # not there, or no program
    raise Unavailable(f'$CXX names no compiler: {command[0]}') from None


def _compiler():
  try:
    given = shlex.split(os.environ.get('CXX', ''))
  except ValueError as error:
    raise Unavailable(f'$CXX names no compiler: {error}') from None
  if given:
    return given
  for name in ('c++', 'g++', 'clang++'):
    if shutil.which(name):
      return [name]
  raise Unavailable('there is no C++ compiler for fast kernels')


def _cpu():
  """What -march=native depends on."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return platform.processor()
  return next((s for s in lines if s.startswith(('flags', 'Features'))), '')


def _digest(data):
  return hashlib.sha256(data).hexdigest()[:16]

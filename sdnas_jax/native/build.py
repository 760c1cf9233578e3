"""Compiles a C++ source of this folder once, and hands its functions to XLA."""

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
import warnings

import jax
import jaxlib

from sdnas_jax import compilation

FLAGS = '-std=c++17 -O3 -march=native -fPIC -shared -DNDEBUG'


class Unavailable(Exception):
  """Why a library could not be had, in one sentence."""


@functools.cache
def targets(name: str, symbols: tuple[str, ...]) -> dict[str, str] | None:
  """XLA's names for the functions of `<name>.cc`; None where it cannot be had.

  The library is compiled on first use, by $CXX, c++, g++ or clang++, into the
  user's cache, or, where that cannot be written, into a temporary folder. What
  it is missing for is said in one warning.
  """
  try:
    library, version = _library(name)
  except Unavailable as error:
    warnings.warn(
      f'{error}; going on without the fast {name} kernel', stacklevel=2
    )
    return None
  found = {}
  for symbol in symbols:
    # A compiled program in the persistent cache calls the function it was
    # compiled for, so another version has another name.
    found[symbol] = f'sdnas_jax_{name}_{symbol}_{version}'
    capsule = jax.ffi.pycapsule(getattr(library, symbol))
    jax.ffi.register_ffi_target(found[symbol], capsule, platform='cpu')
  return found


def _library(name):
  source = pathlib.Path(__file__).with_name(f'{name}.cc')
  compiler = _compiler()
  command = [*compiler, *FLAGS.split(), '-isystem', jax.ffi.include_dir()]
  version = _version(source.read_text(), jaxlib.__version__, *command, _cpu())
  try:
    return _load(compilation.folder() / 'native', source, command, version)
  except OSError:  # a folder that cannot be written, or a disk that is full
    with tempfile.TemporaryDirectory() as folder:
      return _load(pathlib.Path(folder), source, command, version)


def _load(folder, source, command, version):
  path = folder / f'{source.stem}-{version}.so'
  if path.exists():
    try:
      return ctypes.CDLL(path), version
    except OSError:  # broken: compile it again
      pass
  folder.mkdir(parents=True, exist_ok=True)
  handle, fresh = tempfile.mkstemp(suffix='.so', dir=folder)
  os.close(handle)
  try:
    done = _run([*command, str(source), '-o', fresh])
    if done.returncode:
      reason = (done.stderr.strip() or 'no reason given').splitlines()[-1]
      raise Unavailable(f'{shlex.join(command[:1])} failed: {reason}')
    os.replace(fresh, path)
  finally:
    pathlib.Path(fresh).unlink(missing_ok=True)
  return ctypes.CDLL(path), version


def _run(command):
  try:
    return subprocess.run(command, capture_output=True, text=True)
  except FileNotFoundError:
    raise Unavailable(f'there is no C++ compiler {command[0]}') from None


def _compiler():
  given = shlex.split(os.environ.get('CXX', ''))
  if given:
    return given
  for name in ('c++', 'g++', 'clang++'):
    if shutil.which(name):
      return [name]
  raise Unavailable('no C++ compiler is installed')


def _cpu():
  """What -march=native depends on."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return platform.processor()
  return next((s for s in lines if s.startswith(('flags', 'Features'))), '')


def _version(*parts):
  return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:16]

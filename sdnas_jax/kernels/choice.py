"""Which of the ways to compute separable convolutions `auto` is.

The one that `benchmarks/gpu.py` found fastest on devices of this kind, which it
has noted in the user's cache by the type that is computed in:

  {"NVIDIA H200": {"float32": "grouped", "bfloat16": "space_to_batch"}}

Where nothing is noted: on CPUs the foreign functions or, without a compiler,
`shifted`; elsewhere `grouped`.
"""

import functools
import json
import pathlib
import warnings

import jax

from sdnas_jax import compilation
from sdnas_jax.kernels import build
from sdnas_jax.kernels import separable

FILE = 'depthwise.json'


def best(bf16: bool = False) -> str:
  """One of `separable.BACKENDS`."""
  way = _noted(bf16)
  if way != 'native' or native(bf16):
    return way
  return 'shifted' if jax.default_backend() == 'cpu' else 'grouped'


def prepare(bf16: bool) -> None:
  """Starts what `best` will wait for, if anything."""
  if jax.default_backend() == 'cpu' and _noted(bf16) == 'native':
    build.begin(_type(bf16))


def native(bf16: bool) -> bool:
  """Whether the foreign functions serve."""
  return jax.default_backend() == 'cpu' and build.available(_type(bf16))


def ways(bf16: bool) -> list[str]:
  """Those of `separable.BACKENDS` that there are on this device."""
  return [w for w in separable.BACKENDS if w != 'native' or native(bf16)]


def path() -> pathlib.Path:
  """Where it is noted.

  Raises:
    OSError: there is no folder for it.
  """
  return compilation.folder() / FILE


def read() -> dict[str, dict[str, str]]:
  """What is noted, by kind of device and type; damage is one warning."""
  try:
    found = json.loads(path().read_bytes())
    named = {way for own in found.values() for way in own.values()}
    if not named <= {*separable.BACKENDS}:
      raise ValueError('a way is unknown')
    return found
  except OSError:
    return {}
  except (ValueError, AttributeError, TypeError, RecursionError) as error:
    warnings.warn(
      f'{path()} is damaged ({type(error).__name__}: {str(error)[:80]}); going '
      'on without it: remove it, or run benchmarks/gpu.py again',
      stacklevel=2,
    )
    return {}


@functools.cache
def noted() -> dict[str, str]:
  """What is noted for this kind of device; a process asks once."""
  return read().get(jax.devices()[0].device_kind, {})


def _noted(bf16):
  return noted().get(_type(bf16), 'native')


def _type(bf16):
  return 'bfloat16' if bf16 else 'float32'

"""Compiles at once, and keeps the results: on disk and for the next run."""

from collections.abc import Callable
from collections.abc import Hashable
from concurrent import futures
import contextlib
import os
import pathlib
import stat
from typing import Any
from typing import NamedTuple
import warnings

import jax

from sdnas_jax import malloc

Tree = Any
OTHERS = stat.S_IWGRP | stat.S_IWOTH
# Of the memory that Linux lets a process map: 65,530 pieces, several a program.
MAPS, MOST = pathlib.Path('/proc/self/maps'), 20_000


def folder() -> pathlib.Path:
  """The user's cache folder, of mode 0700: programs are loaded from it.

  Raises:
    OSError: there is none that can be written, or not by the user alone.
  """
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  found = pathlib.Path(cache) / 'sdnas_jax'
  if not found.is_absolute():  # '~', if no home is known
    raise FileNotFoundError(f'no cache folder {found}')
  found.mkdir(mode=0o700, parents=True, exist_ok=True)
  kept, me = found.stat(), getattr(os, 'geteuid', lambda: None)()
  if me is not None and (kept.st_uid != me or kept.st_mode & OTHERS):
    told = (
      f'{found} can be written by others, so that it is not used: remove it'
    )
    warnings.warn(told, stacklevel=2)
    raise PermissionError(told)
  found.chmod(0o700)
  return found


def keep() -> None:
  """Turns JAX's persistent cache on, in the user's cache folder.

  JAX_COMPILATION_CACHE_DIR names another place. Without one, each process
  compiles anew.
  """
  with contextlib.suppress(OSError):
    place = jax.config.jax_compilation_cache_dir or str(folder() / 'xla')
    jax.config.update('jax_compilation_cache_dir', os.path.expanduser(place))


class Program(NamedTuple):
  """A function of a module, to be compiled for operands like these."""

  function: Callable[..., Tree]
  operands: tuple[Tree, ...]
  donated: tuple[int, ...] = ()  # operands whose memory the result may take


_BUILT: dict[Hashable, jax.stages.Compiled] = {}


def build(
  *programs: Program, place: jax.sharding.Sharding
) -> list[jax.stages.Compiled]:
  """Compiles programs at the same time, their results to lie in `place`.

  What this process has compiled before serves again, for all runs of a
  comparison that differ in numbers alone, until there is too much of it.
  """
  if crowded():
    forget()
  keys = [_key(program) for program in programs]
  found = dict(_BUILT)  # another thread may forget
  todo = {k: p for k, p in zip(keys, programs, strict=True) if k not in found}
  lowered = [
    jax.jit(p.function, donate_argnums=p.donated, out_shardings=place).lower(
      *p.operands
    )
    for p in todo.values()
  ]
  with futures.ThreadPoolExecutor() as pool:
    built = list(pool.map(lambda program: program.compile(), lowered))
  new = dict(zip(todo, built, strict=True))
  _BUILT.update(new)
  if todo:
    malloc.give_back()
  return [(found | new)[key] for key in keys]


def crowded() -> bool:
  """Whether this process has so many programs that it will soon get no more."""
  return MAPS.exists() and MAPS.read_bytes().count(b'\n') > MOST


def forget() -> None:
  """Frees all programs that this process has compiled and does not run."""
  _BUILT.clear()
  jax.clear_caches()
  malloc.give_back()


def _key(program):
  leaves, structure = jax.tree.flatten(program.operands)
  return program.function, structure, tuple(map(_kind, leaves))


def _kind(leaf):
  known = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
  return known, getattr(leaf, 'sharding', None)

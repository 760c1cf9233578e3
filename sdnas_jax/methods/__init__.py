"""The search methods; a new one is a file here and a line below.

>>> make('gdas', {'tau_max': 5.0})
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import inspect
from typing import Any

from sdnas_jax import errors
from sdnas_jax.methods.beta_darts import beta_darts
from sdnas_jax.methods.daas import daas
from sdnas_jax.methods.darts import darts
from sdnas_jax.methods.darts2 import darts2
from sdnas_jax.methods.darts_ada import darts_ada
from sdnas_jax.methods.darts_es import darts_es
from sdnas_jax.methods.darts_minus import darts_minus
from sdnas_jax.methods.darts_pap import darts_pap
from sdnas_jax.methods.darts_plus import darts_plus
from sdnas_jax.methods.darts_pt import darts_pt
from sdnas_jax.methods.drnas import drnas
from sdnas_jax.methods.dsnas import dsnas
from sdnas_jax.methods.enas import enas
from sdnas_jax.methods.fair_darts import fair_darts
from sdnas_jax.methods.fairnas import fairnas
from sdnas_jax.methods.gdas import gdas
from sdnas_jax.methods.gold_nas import gold_nas
from sdnas_jax.methods.idarts import idarts
from sdnas_jax.methods.lambda_darts import lambda_darts
from sdnas_jax.methods.method import Method
from sdnas_jax.methods.oles import oles
from sdnas_jax.methods.p_darts import p_darts
from sdnas_jax.methods.pc_darts import pc_darts
from sdnas_jax.methods.proxylessnas import proxylessnas
from sdnas_jax.methods.random_ws import random_ws
from sdnas_jax.methods.sdarts_adv import sdarts_adv
from sdnas_jax.methods.sdarts_rs import sdarts_rs
from sdnas_jax.methods.sgas import sgas
from sdnas_jax.methods.shapley_nas import shapley_nas
from sdnas_jax.methods.single_level import single_level
from sdnas_jax.methods.snas import snas
from sdnas_jax.methods.spos import spos
from sdnas_jax.methods.u_darts import u_darts

METHODS: dict[str, Callable[..., Method]] = {
  method.__name__: method
  for method in (
    *(darts, darts2, single_level, idarts, darts_es, darts_ada, darts_plus),
    *(darts_minus, darts_pap, darts_pt, beta_darts, daas, lambda_darts, oles),
    *(pc_darts, p_darts, sdarts_rs, sdarts_adv, sgas, shapley_nas),
    *(gdas, snas, dsnas, proxylessnas, drnas, fair_darts, gold_nas, u_darts),
    *(spos, fairnas, random_ws, enas),
  )
}

LARGEST = 1_000_000  # number of a method's own


def options(name: str) -> dict[str, Any]:
  """A method's own numbers, and their published values."""
  parameters = inspect.signature(METHODS[name]).parameters
  return {key: given.default for key, given in parameters.items()}


def make(name: str, given: Mapping[str, Any]) -> Method:
  """The method of a name, with some of its numbers changed.

  Raises:
    BadInput: there is no such method or number, or it is out of range.
  """
  base = str(name).removeprefix('sd_')
  if base != name and base in METHODS:
    raise errors.BadInput(
      f'unknown method {name!r}: self-distillation is a field, so set '
      f'method={base} and distill.weight=1'
    )
  errors.pick('method', name, METHODS)
  known = options(name)
  for key, value in given.items():
    if not known:
      raise errors.BadInput(f'{name} has no options: remove options.{key}')
    errors.pick(f'option of {name}', key, known)
    kind = type(known[key])
    right = isinstance(value, kind) or (kind is float and type(value) is int)
    if not right or (isinstance(value, bool) and kind is not bool):
      raise errors.BadInput(
        f'options.{key} must be of type {kind.__name__}, not '
        f'{errors.short(value)}'
      )
    if kind in (int, float) and not abs(value) <= LARGEST:
      raise errors.BadInput(
        f'options.{key} must be in [-{LARGEST}, {LARGEST}], not '
        f'{errors.short(value)}'
      )
  try:
    # 5 and 5.0 are one number, but not to a compiled step.
    same = {key: type(known[key])(value) for key, value in given.items()}
    return _made(name, tuple(sorted(same.items())))
  except ValueError as error:
    raise errors.BadInput(f'{name}: {error}') from error


@functools.cache  # equal methods are one to a compiled step
def _made(name, given):
  return METHODS[name](**dict(given))


def heard(
  given: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]
) -> None:
  """Refuses options that every stage of a search sets: they would do nothing.

  Raises:
    BadInput: names the first.
  """
  for name in given:
    dotted = f'options.{name}'
    if all(dotted in one or name in one.get('options', ()) for one in stages):
      raise errors.BadInput(
        f'options.{name} is set by every stage of this search: change it in '
        'config.stages'
      )

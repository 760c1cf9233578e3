"""The fields of every task's config: names, types and ranges."""

from collections.abc import Collection
from collections.abc import Mapping
import math
from typing import Any

from ml_collections import ConfigDict

from sdnas_jax import errors
from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from sdnas_jax.data import sources
from sdnas_jax.kernels import build
from sdnas_jax.kernels import separable
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201

# Every field with its type, and the range of its numbers or the names it takes.
Known = Mapping[str, tuple[type, tuple[float, float] | Collection[str] | None]]

NATURAL, WHOLE = (1, math.inf), (0, math.inf)
SHARE, BELOW_ONE = (0.0, 1.0), (0.0, 0.9999999)
COMMON = {
  'task': (str, None),
  'seed': (int, (0, 2**32 - 1)),
  'epochs': (int, NATURAL),
  'batch_size': (int, NATURAL),
  'steps_per_call': (int, WHOLE),
  'data.name': (str, None),
  'data.dir': (str, None),
  'data.examples': (int, WHOLE),
  'data.order': (str, sources.ORDERS),
  'data.pad': (int, WHOLE),
  'data.flip': (bool, None),
  'data.cutout': (int, WHOLE),
  'model.channels': (int, (2, math.inf)),
  'model.layers': (int, NATURAL),
  'model.depthwise': (str, ('auto', *separable.BACKENDS)),
  'model.bf16': (bool, None),
  'weights.lr': (float, WHOLE),
  'weights.lr_min': (float, WHOLE),
  'weights.momentum': (float, SHARE),
  'weights.decay': (float, WHOLE),
  'weights.nesterov': (bool, None),
  'weights.clip': (float, (1e-6, math.inf)),
  'weights.schedule': (str, optimizers.SCHEDULES),
  'weights.warmup': (int, WHOLE),
}
SEARCH = COMMON | {
  'space': (str, None),
  'data.shared': (bool, None),
  'method': (str, None),
  'stages': (tuple, None),
  'weights.rule': (str, rules.WEIGHTS),
  'weights.rho': (float, WHOLE),
  'model.remat': (bool, None),
  'alphas.lr': (float, WHOLE),
  'alphas.b1': (float, BELOW_ONE),
  'alphas.b2': (float, BELOW_ONE),
  'alphas.decay': (float, WHOLE),
  'alphas.scale': (float, WHOLE),
  'alphas.warmup': (int, WHOLE),
  'alphas.clip': (float, WHOLE),
  'alphas.rule': (str, rules.ALPHAS),
  'distill.warmup': (int, WHOLE),
  'distill.weight': (float, WHOLE),
  'distill.teachers': (int, NATURAL),
  'distill.metric': (str, distill.METRICS),
  'distill.temperature': (float, (1e-3, math.inf)),
  'distill.teacher': (str, distill.TEACHERS),
  'distill.decay': (float, SHARE),
  'sharpness.every': (int, WHOLE),
  'sharpness.of': (str, ('alphas', 'weights')),
  'sharpness.protocol': (str, ('probe', 'robustdarts')),
  'sharpness.batches': (int, NATURAL),
  'sharpness.products': (int, NATURAL),
  'sharpness.radius': (float, (1e-6, math.inf)),
  'sharpness.climbs': (int, NATURAL),
  'sharpness.landscape': (int, WHOLE),
  'sharpness.spectrum': (bool, None),
}
# What the search of a space has besides.
OWN = {
  'nasbench201': {
    'model.affine': (bool, None),
    'model.tracked': (bool, None),
    'rank.samples': (int, (0, nasbench201.SIZE)),
    'rank.batches': (int, NATURAL),
  }
}
EVALUATE = COMMON | {
  'genotype': (str, None),
  'data.holdout': (int, WHOLE),
  'data.jitter': (float, SHARE),
  'data.hue': (float, (0.0, 0.5)),
  'model.imagenet': (bool, None),
  'weights.auxiliary': (float, WHOLE),
  'weights.smoothing': (float, BELOW_ONE),
  'weights.drop_path': (float, BELOW_ONE),
}
REPORT = {'task': (str, None), 'runs': (str, None)}


def networks(
  config: ConfigDict, known: Known, free: tuple[str, ...] = ()
) -> dict[str, Any]:
  """Checks all fields of a task that makes a network.

  Those that begin with one of `free` are not looked at.

  Returns:
    The flat fields.

  Raises:
    BadInput: names the first that is unknown, missing or out of range.
  """
  flat = artifacts.flat(config.to_dict())
  given = {k: v for k, v in flat.items() if not k.startswith(free)}
  every(given, known)
  if config.model.depthwise == 'native':
    _native(config.model.bf16)
  return flat


def every(given: Mapping[str, Any], known: Known) -> None:
  """Checks flat fields by their names."""
  for name in given:
    errors.pick('config field', name, known)
  for name, (kind, limits) in known.items():
    if name not in given:
      raise errors.BadInput(f'the config lacks {name}: add it')
    _field(name, given[name], kind, limits)


def _native(bf16: bool) -> None:
  if bf16:
    raise errors.BadInput(
      "model.depthwise='native' knows no bfloat16: leave it 'auto'"
    )
  try:
    for promise in build.begin():
      promise.result()
  except build.Unavailable as error:
    raise errors.BadInput(f"model.depthwise='native': {error}") from None


def _field(name: str, value: Any, kind: type, limits: Any) -> None:
  right = isinstance(value, kind) or (kind is float and type(value) is int)
  if not right or (isinstance(value, bool) and kind is not bool):
    raise errors.BadInput(
      f'{name} must be of type {kind.__name__}, not {value!r}'
    )
  if kind is float and not math.isfinite(value):
    raise errors.BadInput(f'{name} must be finite, not {value}')
  if kind is str and limits:
    errors.pick(name, value, limits)
  elif limits and not limits[0] <= value <= limits[1]:
    low, high = limits
    span = f'at least {low}' if math.isinf(high) else f'in [{low}, {high}]'
    raise errors.BadInput(f'{name} must be {span}, not {value}')

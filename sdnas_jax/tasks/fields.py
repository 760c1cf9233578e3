"""The fields of every task's config: names, types and ranges."""

from collections.abc import Collection
from collections.abc import Mapping
import math
from typing import Any

import jax
from ml_collections import ConfigDict

from sdnas_jax import errors
from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from sdnas_jax.data import dataset
from sdnas_jax.kernels import build
from sdnas_jax.kernels import separable
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201

# Every field with its type, and the range of its numbers or the names it takes.
Known = Mapping[
  str, tuple[type, range | tuple[float, float] | Collection[str] | None]
]

# A `range` ends where no machine would come to an end.
NATURAL, WHOLE = range(1, 1_000_001), range(1_000_001)
SOME, IMAGES = range(1, 1001), range(1_000_000_001)
ABSURD = 1e7  # layers x channels^2, each of which is hundreds of weights
REAL, LARGEST = (0.0, math.inf), 1e38  # LARGEST: of single precision
SHARE, BELOW_ONE = (0.0, 1.0), (0.0, 0.9999999)
COMMON = {
  'task': (str, None),
  'seed': (int, (0, 2**32 - 1)),
  'epochs': (int, NATURAL),
  'batch_size': (int, NATURAL),
  'steps_per_call': (int, WHOLE),
  'data.name': (str, None),
  'data.dir': (str, None),
  'data.size': (int, range(4097)),
  'data.examples': (int, IMAGES),
  'data.order': (str, dataset.ORDERS),
  'data.pad': (int, WHOLE),
  'data.flip': (bool, None),
  'data.cutout': (int, WHOLE),
  'model.channels': (int, range(2, 10_001)),
  'model.layers': (int, range(1, 201)),
  'model.depthwise': (str, ('auto', *separable.BACKENDS)),
  'model.bf16': (bool, None),
  'weights.lr': (float, REAL),
  'weights.lr_min': (float, REAL),
  'weights.momentum': (float, SHARE),
  'weights.decay': (float, REAL),
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
  'weights.rho': (float, REAL),
  'model.remat': (bool, None),
  'alphas.lr': (float, REAL),
  'alphas.b1': (float, BELOW_ONE),
  'alphas.b2': (float, BELOW_ONE),
  'alphas.decay': (float, REAL),
  'alphas.scale': (float, REAL),
  'alphas.warmup': (int, WHOLE),
  'alphas.clip': (float, REAL),
  'alphas.rule': (str, rules.ALPHAS),
  'alphas.optimizer': (str, ('', *optimizers.OPTIMIZERS)),
  'distill.warmup': (int, WHOLE),
  'distill.weight': (float, REAL),
  'distill.teachers': (int, SOME),
  'distill.metric': (str, distill.METRICS),
  'distill.temperature': (float, (1e-3, math.inf)),
  'distill.teacher': (str, distill.TEACHERS),
  'distill.decay': (float, SHARE),
  'sharpness.every': (int, WHOLE),
  'sharpness.of': (str, ('alphas', 'weights')),
  'sharpness.protocol': (str, ('probe', 'robustdarts')),
  'sharpness.batches': (int, NATURAL),
  'sharpness.products': (int, SOME),
  'sharpness.radius': (float, (1e-6, math.inf)),
  'sharpness.climbs': (int, SOME),
  'sharpness.landscape': (int, range(1001)),
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
  'data.holdout': (int, IMAGES),
  'data.jitter': (float, SHARE),
  'data.hue': (float, (0.0, 0.5)),
  'model.imagenet': (bool, None),
  'weights.auxiliary': (float, REAL),
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
  model = config.model
  if model.layers * model.channels**2 > ABSURD:
    raise errors.BadInput(
      f'model.layers ({model.layers}) of model.channels ({model.channels}) are '
      'a network of billions of weights: lower either'
    )
  if model.depthwise == 'native':
    _native(model.bf16)
  return flat


def every(given: Mapping[str, Any], known: Known) -> None:
  """Checks flat fields by their names."""
  for name, value in given.items():
    if name not in known:
      _misplaced(name, value, known)
  if lacks := [name for name in known if name not in given]:
    raise errors.BadInput(f'the config lacks {", ".join(lacks)}: add it')
  for name, (kind, limits) in known.items():
    _field(name, given[name], kind, limits)


def _misplaced(name, value, known):
  """Refuses a field that is none, or a section or no section by mistake."""
  own = [field for field in known if field.startswith(f'{name}.')]
  if own:
    raise errors.BadInput(
      f'{name} must be a section of fields, {", ".join(own)}, not '
      f'{errors.short(value)}'
    )
  for outer, (kind, _) in known.items():
    if name.startswith(f'{outer}.'):
      raise errors.BadInput(f'{outer} must be {_named(kind)}, not a section')
  for space, fields in OWN.items():
    if name in fields:
      raise errors.BadInput(
        f'unknown config field {name!r}, which is of the space {space} alone: '
        f'set --config.space={space}, or start from another file in configs/'
      )
  errors.pick('config field', name, known)


def _named(kind):
  """A type in words."""
  hint = ", with a comma behind each of its dicts, as ({'epochs': 1},)"
  return f'of type {kind.__name__}{hint if kind is tuple else ""}'


def _native(bf16: bool) -> None:
  if (backend := jax.default_backend()) != 'cpu':
    raise errors.BadInput(
      f"model.depthwise='native' knows no {backend}: leave it 'auto'"
    )
  try:
    for promise in build.begin('bfloat16' if bf16 else 'float32'):
      promise.result()
  except build.Unavailable as error:
    raise errors.BadInput(f"model.depthwise='native': {error}") from None


def _field(name: str, value: Any, kind: type, limits: Any) -> None:
  right = isinstance(value, kind) or (kind is float and type(value) is int)
  if not right or (isinstance(value, bool) and kind is not bool):
    raise errors.BadInput(
      f'{name} must be {_named(kind)}, not {errors.short(value)}'
    )
  if kind is float and not abs(value) <= LARGEST:
    raise errors.BadInput(
      f'{name} must be finite in single precision, not {errors.short(value)}'
    )
  if kind is str and limits:
    errors.pick(name, value, limits)
  elif limits and not limits[0] <= value <= limits[-1]:
    span = f'in [{limits[0]}, {limits[-1]}]'
    if isinstance(limits, range) and value > limits[-1]:
      span = f'at most {limits[-1]}'
    elif isinstance(limits, range) or math.isinf(limits[-1]):
      span = f'at least {limits[0]}'
    raise errors.BadInput(f'{name} must be {span}, not {errors.short(value)}')

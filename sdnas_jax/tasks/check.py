"""Refuses a config that cannot work, in a sentence that names the fix."""

import json
import math
from typing import Any
import zlib

from ml_collections import ConfigDict

from sdnas_jax import artifacts
from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import sources
from sdnas_jax.methods import METHODS
from sdnas_jax.native import build
from sdnas_jax.networks import separable
from sdnas_jax.spaces import published
from sdnas_jax.spaces import SPACES

# Every field of a task, with its type and the range of its numbers.
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
  'data.pad': (int, WHOLE),
  'data.flip': (bool, None),
  'data.cutout': (int, WHOLE),
  'model.channels': (int, (2, math.inf)),
  'model.layers': (int, NATURAL),
  'model.depthwise': (str, None),
  'model.bf16': (bool, None),
  'weights.lr': (float, WHOLE),
  'weights.lr_min': (float, WHOLE),
  'weights.momentum': (float, SHARE),
  'weights.decay': (float, WHOLE),
  'weights.clip': (float, (1e-6, math.inf)),
}
SEARCH = COMMON | {
  'space': (str, None),
  'method': (str, None),
  'model.remat': (bool, None),
  'alphas.lr': (float, WHOLE),
  'alphas.b1': (float, BELOW_ONE),
  'alphas.b2': (float, BELOW_ONE),
  'alphas.decay': (float, WHOLE),
  'alphas.scale': (float, WHOLE),
  'alphas.warmup': (int, WHOLE),
  'distill.warmup': (int, WHOLE),
  'distill.weight': (float, WHOLE),
  'distill.teachers': (int, NATURAL),
  'distill.metric': (str, None),
  'distill.temperature': (float, (1e-3, math.inf)),
  'distill.vote': (str, None),
  'distill.decay': (float, SHARE),
  'sharpness.every': (int, WHOLE),
  'sharpness.of': (str, None),
  'sharpness.protocol': (str, None),
  'sharpness.batches': (int, NATURAL),
  'sharpness.products': (int, NATURAL),
  'sharpness.radius': (float, (1e-6, math.inf)),
  'sharpness.climbs': (int, NATURAL),
}
EVALUATE = COMMON | {
  'genotype': (str, None),
  'data.holdout': (int, WHOLE),
  'data.jitter': (float, SHARE),
  'data.hue': (float, (0.0, 0.5)),
  'model.imagenet': (bool, None),
  'weights.schedule': (str, None),
  'weights.warmup': (int, WHOLE),
  'weights.auxiliary': (float, WHOLE),
  'weights.smoothing': (float, BELOW_ONE),
  'weights.drop_path': (float, BELOW_ONE),
}
SHARPNESS = {'task': (str, None), 'seeds': (int, NATURAL)}
COMPARE = {
  'task': (str, None),
  'baseline': (str, None),
  'repeats': (int, NATURAL),
  'randoms': (int, WHOLE),
}


def search(config: ConfigDict) -> None:
  """Checks what a search's config says by itself.

  Raises:
    BadInput: names the first field that is unknown, missing or out of range.
  """
  choices = {
    'space': SPACES,
    'method': METHODS,
    'distill.metric': distill.METRICS,
    'distill.vote': distill.VOTES,
    'sharpness.of': ('alphas', 'weights'),
    'sharpness.protocol': ('probe', 'robustdarts'),
  }
  _fields(config, SEARCH, choices)
  warmup, epochs = config.distill.warmup, config.epochs
  if config.distill.weight and warmup > epochs:
    raise errors.BadInput(
      f'distill.warmup ({warmup}) is longer than the run ({epochs} epochs): '
      'lower it, or set --config.distill.weight=0 for plain DARTS'
    )
  if config.alphas.warmup >= epochs:
    raise errors.BadInput(
      f'alphas.warmup ({config.alphas.warmup}) leaves none of the {epochs} '
      'epochs to move the alphas: lower it'
    )


def evaluate(config: ConfigDict) -> None:
  """The same for the training of a derived network."""
  _fields(config, EVALUATE, {'weights.schedule': optimizers.SCHEDULES})


def compare(config: ConfigDict) -> None:
  """The same for a comparison, whose parts are checked as they are alone."""
  given = config.to_dict()
  if not ('search' in given and 'evaluate' in given):
    raise errors.BadInput('a comparison needs a search and an evaluate section')
  search(ConfigDict(given.pop('search')))
  evaluate(ConfigDict(given.pop('evaluate')))
  _known(dict(artifacts.flat(given)), COMPARE)
  errors.pick('baseline', given['baseline'], published.CELLS)


def sharpness(config: ConfigDict) -> None:
  """The same for a comparison of methods, each a search with some changes."""
  given = config.to_dict()
  if not given.get('methods') or 'search' not in given:
    raise errors.BadInput(
      'a comparison of sharpness needs a search section, and methods: from a '
      'name to the fields of the search that it changes, such as '
      "{'DARTS': {'distill': {'weight': 0.0}}}"
    )
  del given['search'], given['methods']
  _known(dict(artifacts.flat(given)), SHARPNESS)
  for method in config.methods:
    own = variant(config, method, 0)
    search(own)
    if not own.sharpness.every:
      raise errors.BadInput(
        f'{method} measures nothing: set search.sharpness.every to the epochs '
        'from one measurement to the next'
      )


def variant(config: ConfigDict, method: str, seed: int) -> ConfigDict:
  """The config of one method's search."""
  own = ConfigDict(config.search.to_dict())
  try:
    own.update(config.methods[method].to_dict())
  except (TypeError, AttributeError) as error:
    raise errors.BadInput(
      f'methods.{method} changes a field to another type ({error})'
    ) from error
  own.seed = seed
  return own


def _fields(config, known, choices):
  given = dict(artifacts.flat(config.to_dict()))
  _known(given, known)
  choices = {**choices, 'model.depthwise': ('auto', *separable.WAYS)}
  for name, names in choices.items():
    errors.pick(name, given[name], names)
  if config.model.depthwise == 'native':
    _native(config.model.bf16)


def _known(given, known):
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
  if limits and not limits[0] <= value <= limits[1]:
    low, high = limits
    span = f'at least {low}' if math.isinf(high) else f'in [{low}, {high}]'
    raise errors.BadInput(f'{name} must be {span}, not {value}')


def sizes(config: ConfigDict, source: sources.Source, devices: int) -> int:
  """Checks a search's config against the data and the devices.

  Returns:
    How many examples the search uses, both halves together.

  Raises:
    BadInput: if they do not fit.
  """
  if source.stream is not None:
    raise errors.BadInput(
      f'{config.data.name} is read as a stream, which a search cannot take: '
      'search on data that fit in memory, such as cifar10'
    )
  examples = _examples(config, source)
  if config.batch_size > examples // 2:
    raise errors.BadInput(
      f'batch_size ({config.batch_size}) is larger than half the data '
      f'({examples // 2} of {examples} examples): lower it'
    )
  _shapes(config, source, devices)
  return examples


def parts(
  config: ConfigDict, source: sources.Source, devices: int
) -> tuple[int, int]:
  """The same for an evaluation.

  Returns:
    How many examples it trains and tests on.

  Raises:
    BadInput: if they do not fit.
  """
  examples, held = _examples(config, source), config.data.holdout
  if not held and not source.tests:
    raise errors.BadInput(
      f'{config.data.name} has no test images of its own: set data.holdout to '
      'the number of training images, the last ones, to test on instead'
    )
  train = examples - held
  if config.batch_size > train:
    raise errors.BadInput(
      f'batch_size ({config.batch_size}) is larger than the training data '
      f'({examples} examples, of which data.holdout takes {held}): lower them'
    )
  side, least = min(source.shape[:2]), 193 if config.model.imagenet else 32
  if config.weights.auxiliary and side < least:
    raise errors.BadInput(
      f'images of {side} pixels are too small for the auxiliary head, which '
      f'needs {least}: set --config.weights.auxiliary=0'
    )
  if (config.data.jitter or config.data.hue) and source.shape[2] != 3:
    raise errors.BadInput(
      f'{config.data.name} has no three colours to vary: set data.jitter and '
      'data.hue to 0'
    )
  _shapes(config, source, devices)
  return train, held or source.tests


def _examples(config, source):
  asked = config.data.examples
  if asked > source.examples:
    raise errors.BadInput(
      f'data.examples is {asked}, but {config.data.name} has '
      f'{source.examples}: lower it, or 0 for all'
    )
  return asked or source.examples


def _shapes(config, source, devices):
  side, batch = min(source.shape[:2]), config.batch_size
  if max(config.data.pad, config.data.cutout) > side:
    raise errors.BadInput(
      f'data.pad ({config.data.pad}) and data.cutout ({config.data.cutout}) '
      f"must not exceed the images' side, {side}: lower them"
    )
  if batch % devices:
    raise errors.BadInput(
      f'batch_size ({batch}) does not divide over {devices} devices: make it '
      f'a multiple, such as {batch // devices * devices or devices}'
    )


def hosts(config: ConfigDict) -> None:
  """Checks that all hosts were given the same config; all must call it.

  It is also where they first meet. Gloo waits half a minute for that, and
  compilation may take longer on one than on another.

  Raises:
    BadInput: on every host, if they differ.
  """
  said = json.dumps(config.to_dict(), sort_keys=True).encode()
  number = zlib.crc32(said) // 2  # in the range of int32
  if parallel.most(number, -number) != [number, -number]:
    raise errors.BadInput(
      'the hosts were given different configs: run the same command on each'
    )

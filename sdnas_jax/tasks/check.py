"""Refuses a config that cannot work, in a sentence that names the fix."""

import itertools
import json
import zlib

from ml_collections import ConfigDict

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.bilevel import hypergrad
from sdnas_jax.data import dataset
from sdnas_jax.data import split
from sdnas_jax.kernels import choice
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import fields
from sdnas_jax.tasks import stages


def search(config: ConfigDict) -> list[stages.Stage]:
  """Checks what a search's config says by itself.

  Returns:
    Its stages, each with a config that is whole.

  Raises:
    BadInput: names the first field that is unknown, missing or out of range.
  """
  errors.pick('space', config.get('space', ''), SPACES)
  own = fields.OWN.get(config.space, {})
  if not own.keys() <= artifacts.flat(config.to_dict()).keys():
    raise errors.BadInput(
      f'the config lacks {", ".join(own)}, which the space {config.space} '
      f'needs: start from configs/search_{config.space}.py'
    )
  if not isinstance(config.get('options'), ConfigDict):
    raise errors.BadInput(
      "options must be a section of the method's own numbers, such as "
      f'ConfigDict(), not {errors.short(config.get("options"))}'
    )
  known = fields.SEARCH | own
  fields.networks(config, known, free=('options.',))
  plan = stages.plan(config, SPACES[config.space])
  several = config.stages or plan[1:]
  for stage in plan:
    with errors.within(f'stages[{stage.number}]' if several else ''):
      _stage(stage, known)
  for one, two in itertools.pairwise(plan):
    nets = [s.config.model.to_dict() | dict(s.method.model) for s in (one, two)]
    before, now = (net.pop('partial', 1) for net in nets)
    goes = before >= now > 1 if two.carry == 'widened' else before == now
    if two.carry != 'fresh' and not (goes and nets[0] == nets[1]):
      raise errors.BadInput(
        f"stages[{two.number}] changes the model's shape, which no weights "
        "survive: set its carry to 'fresh'"
      )
    first, second = (s.config.alphas.optimizer or 'adam' for s in (one, two))
    if two.carry != 'fresh' and first != second:
      raise errors.BadInput(
        f'stages[{two.number}] goes from {first} to {second} for the alphas, '
        "which keep other moments: set its carry to 'fresh', or its "
        f'alphas.optimizer to {first!r}'
      )
  return plan


def _stage(stage, known):
  """The same for one stage."""
  config, epochs = stage.config, stage.total
  given = fields.networks(config, known, free=('options.',))
  if why := stage.method.refuse(SPACES[config.space], given):
    raise errors.BadInput(f'{config.method} cannot search so: {why}')
  _schedule(config.weights, epochs)
  _rule(config, stage.method)
  term, points = config.distill, config.sharpness.landscape
  late = {'warmup': term.warmup}
  if term.teacher == 'lag':  # whose first word is that old
    late['teachers'] = term.teachers
  for name, first in late.items():
    if term.weight and first >= epochs:
      raise errors.BadInput(
        f'distill.{name} ({first}) leaves none of the {epochs} epochs to '
        'distil: lower it, or set --config.distill.weight=0 for plain DARTS'
      )
  if term.weight and term.warmup + term.ramp > epochs:
    raise errors.BadInput(
      f'distill.ramp ({term.ramp}) behind a warm-up of {term.warmup} is longer '
      f'than the {epochs} epochs, so that distill.weight is never reached: '
      'lower either'
    )
  if term.weight and term.teacher == 'mesa' and term.decay == 1:
    raise errors.BadInput(
      'distill.decay (1.0) keeps the first random weights for a teacher: lower '
      'it, as to the 0.9998 of MESA'
    )
  if config.alphas.warmup >= epochs:
    raise errors.BadInput(
      f'alphas.warmup ({config.alphas.warmup}) leaves none of the {epochs} '
      'epochs to move the alphas: lower it'
    )
  if points and (points < 3 or points % 2 == 0):
    raise errors.BadInput(
      f'sharpness.landscape ({points}) must be odd, so that its middle '
      'is where the search ended, and at least 3; or 0 for none'
    )


def _rule(config, method):
  """Refuses a rule of the alphas where its gradient is not what it says."""
  if config.alphas.rule == 'plain':
    return
  why = ''
  if method.turn == 'joint':
    why = 'moves alphas and weights by one gradient'
  elif method.sample is not None:
    why = 'draws at random, and what it draws is no function of the alphas'
  elif method.hypergrad is not hypergrad.first_order:
    why = 'has another gradient of the alphas than that of their loss'
  if why:
    raise errors.BadInput(
      f"alphas.rule='{config.alphas.rule}' takes the loss's gradient and "
      f"curvature in the alphas, but {config.method} {why}: leave it 'plain', "
      'or take another method'
    )


def evaluate(config: ConfigDict) -> None:
  """The same for the training of a derived network."""
  fields.networks(config, fields.EVALUATE)
  _schedule(config.weights, config.epochs)


def _schedule(weights, epochs):
  """Refuses learning rates that never come to what was asked for."""
  if weights.warmup > epochs:
    raise errors.BadInput(
      f'weights.warmup ({weights.warmup}) is longer than the {epochs} epochs, '
      'so that weights.lr is never reached: lower it'
    )
  if weights.lr_min > weights.lr:
    raise errors.BadInput(
      f'weights.lr_min ({weights.lr_min}) is above weights.lr ({weights.lr}): '
      'lower it'
    )


def sizes(config: ConfigDict, source: dataset.Source) -> int:
  """Checks a search's config against the data.

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
  if config.space == 'nasbench201':
    _halves(source)
  examples = _examples(config, source)
  if config.batch_size > examples // 2:
    raise errors.BadInput(
      f'batch_size ({config.batch_size}) is larger than half the data '
      f'({examples // 2} of {examples} examples): lower it'
    )
  _shapes(config, source)
  return examples


def parts(config: ConfigDict, source: dataset.Source) -> tuple[int, int]:
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
  _shapes(config, source)
  return train, held or source.tests


def depth(config: ConfigDict, genotype: spaces.Genotype) -> None:
  """Refuses more or fewer layers than a genotype has cells, if one a layer."""
  cells, layers = len(genotype.cells), config.model.layers
  if 'normal' not in genotype.graphs and cells != layers:
    raise errors.BadInput(
      f'{config.genotype} has {cells} cells, one a layer, but model.layers is '
      f'{layers}: set --config.model.layers={cells}'
    )


def benchmark(config: ConfigDict, source: dataset.Source) -> None:
  """The same for training an architecture of NAS-Bench-201."""
  paths = 'weights.drop_path', 'model.drop_nodes'
  for name in ('model.imagenet', 'weights.auxiliary', *paths):
    if artifacts.flat(config.to_dict())[name]:
      raise errors.BadInput(
        f'networks of NAS-Bench-201 know no {name}: switch it off, or start '
        'from configs/evaluate_nasbench201.py'
      )
  _halves(source)


def _halves(source):
  if any(side % 4 for side in source.shape[:2]):
    raise errors.BadInput(
      f'images of {source.shape[0]} x {source.shape[1]} pixels cannot be '
      'halved twice, as networks of NAS-Bench-201 do: crop or pad them, or set '
      '--config.data.size if they are pictures'
    )


def _examples(config, source):
  asked = config.data.examples
  if asked > source.examples:
    raise errors.BadInput(
      f'data.examples is {asked}, but {config.data.name} has '
      f'{source.examples}: lower it, or 0 for all'
    )
  return asked or source.examples


def _shapes(config, source):
  side, batch = min(source.shape[:2]), config.batch_size
  steps = config.epochs * split.batches(source.examples, batch)
  if steps >= 2**31:
    raise errors.BadInput(
      f'epochs ({config.epochs}) would be {steps:,} steps, more than are '
      'counted: lower them, or raise batch_size'
    )
  if max(config.data.pad, config.data.cutout) > side:
    raise errors.BadInput(
      f'data.pad ({config.data.pad}) and data.cutout ({config.data.cutout}) '
      f"must not exceed the images' side, {side}: lower them"
    )


def hosts(config: ConfigDict) -> None:
  """Checks that all hosts will run the same programs; all must call it.

  It is also where they first meet. Gloo waits half a minute for that, and
  compilation may take longer on one than on another.

  Raises:
    BadInput: on every host, if they differ.
  """
  said = config.to_dict(), choice.noted()
  said = json.dumps(said, sort_keys=True).encode()
  number = zlib.crc32(said) // 2  # in the range of int32
  if parallel.most(number, -number) != [number, -number]:
    raise errors.BadInput(
      'the hosts were given different configs, or benchmarks/gpu.py has noted '
      'other choices on some: run the same command on each'
    )

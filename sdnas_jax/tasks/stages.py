"""A search's stages: a list of overrides, and how the state is carried on.

  config.stages = (
    {'epochs': 25, 'model.layers': 5},
    {'epochs': 25, 'model.layers': 11, 'carry': 'fresh'},
  )

Without any, a search has the method's own stages, or one. Schedules, warm-ups,
the order of the data and its randomness are a stage's own.
"""

from collections.abc import Mapping
import dataclasses

from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import errors
from sdnas_jax import methods
from sdnas_jax.methods.method import Method
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import space as spaces

# What becomes of the state before: `fresh`, only the mask and the method's own
# numbers stay; `kept`, the weights, their statistics, the alphas with their
# optimiser and the memory too; `continued`, all, and the schedules go on;
# `widened`, the same with operations that see more channels.
CARRIES = ('fresh', 'kept', 'continued', 'widened')
ON = CARRIES[2:]


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage, with a config that is whole."""

  number: int
  carry: str
  config: ConfigDict
  method: Method
  before: int = 0  # epochs that its schedules have behind them
  total: int = 0  # epochs of its schedules
  goes_on: bool = False  # with the method that the stage before has ended with


def plan(config: ConfigDict, space: spaces.Space) -> list[Stage]:
  """The stages of a search's config.

  Raises:
    BadInput: a stage or the method's options are not known, or do not add up.
  """
  given = config.get('options', ConfigDict()).to_dict()
  method = methods.make(config.method, given)
  overrides = tuple(config.stages) or tuple(method.stages(space)) or ({},)
  found = []
  for number, override in enumerate(overrides):
    names = override if isinstance(override, Mapping | ConfigDict) else [None]
    if not all(isinstance(name, str) for name in names):
      raise errors.BadInput(
        f'stages[{number}] must be a dict of the fields it changes, as in '
        f"({{'epochs': 1}},), not {errors.short(override)}"
      )
    plain = isinstance(override, Mapping)
    changes = artifacts.flat(override if plain else override.to_dict())
    carry = changes.pop('carry', 'kept')
    errors.pick(f'carry of stages[{number}]', carry, CARRIES)
    own = _changed(config, changes, number)
    if number:
      seeds = np.random.SeedSequence((config.seed, number))
      own.seed = int(seeds.generate_state(1)[0])
    with errors.within(f'stages[{number}]'):
      made = methods.make(own.method, own.options.to_dict())
    for name, value in made.needs.items():
      if not artifacts.flat(own.to_dict())[name]:
        own.update_from_flattened_dict({name: value})
    found.append(Stage(number, carry, own, made))
  methods.heard(given, overrides)
  return _scheduled(found)


def _changed(config, changes, number):
  own = ConfigDict(config.to_dict())
  known = artifacts.flat(config.to_dict())
  for name in changes:
    if not name.startswith('options.'):
      errors.pick(f'field of stages[{number}]', name, known)
    if name.split('.')[0] in ('seed', 'space', 'data', 'task', 'stages'):
      raise errors.BadInput(
        f'stages[{number}] changes {name}, which all stages share: set it once'
      )
  for name, value in changes.items():
    if name.startswith('options.'):
      own.options[name.removeprefix('options.')] = value
      continue
    try:
      own.update_from_flattened_dict({name: value})
    except (TypeError, ValueError) as error:
      raise errors.BadInput(
        f'stages[{number}] changes {name} to another type '
        f'({errors.cut(str(error), 200)})'
      ) from error
  return own


def _scheduled(stages):
  """With the epochs of each one's schedules, which may go on over several."""
  found, before = [], 0
  for n, stage in enumerate(stages):
    before = before if stage.carry in ON and n else 0
    total = before + stage.config.epochs
    for later in stages[n + 1 :]:
      if later.carry not in ON:
        break
      total += later.config.epochs
    same = before > 0 and stage.method is stages[n - 1].method
    own = {'before': before, 'total': total, 'goes_on': same}
    found.append(dataclasses.replace(stage, **own))
    before += stage.config.epochs
  return found

"""A search's stages: what each changes, and when its schedules are."""

import jax
import numpy as np
import pytest

from configs import search_digits
from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.data import sources
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import search
from sdnas_jax.tasks import stages

SPACE = SPACES['darts']


def plan(*overrides, **change):
  made = search_digits.get_config()
  made.stages = overrides
  made.update_from_flattened_dict(change)
  return stages.plan(made, SPACE)


def test_without_any_a_search_is_one():
  (stage,) = plan()
  assert (stage.number, stage.before, stage.total) == (0, 0, 16)
  assert stage.config.to_dict() == search_digits.get_config().to_dict()


def test_a_stage_changes_what_it_says_and_nothing_else():
  one, two, three = plan(
    {},
    {'epochs': 4, 'weights': {'lr': 0.5}, 'carry': 'fresh'},
    {'alphas.rule': 'plain', 'method': 'gdas', 'options.tau_max': 3.0},
  )
  assert [stage.carry for stage in (one, two, three)] == [
    *('kept', 'fresh', 'kept')
  ]
  before, after = one.config.to_dict(), two.config.to_dict()
  assert after.pop('epochs') == 4 and before.pop('epochs') == 16
  assert after['weights'].pop('lr') == 0.5 and before['weights'].pop('lr')
  # Each later stage has randomness of its own, which follows from the seed.
  seeds = [after.pop('seed'), three.config.seed, before.pop('seed')]
  assert len(set(seeds)) == 3 and after == before
  other = plan({}, {'epochs': 4}, seed=1)[1].config.seed
  assert other not in seeds
  assert plan({}, {})[1].config.seed == seeds[0]
  assert three.method.sample.keywords['tau_max'] == 3.0


@pytest.mark.parametrize(
  'carries, found',
  [
    # Each stage's epochs before it, and of its schedules in all.
    (['kept', 'kept', 'kept'], [(0, 2), (0, 3), (0, 4)]),
    (['kept', 'continued', 'continued'], [(0, 9), (2, 9), (5, 9)]),
    (['kept', 'continued', 'fresh'], [(0, 5), (2, 5), (0, 4)]),
    (['continued', 'fresh', 'continued'], [(0, 2), (0, 7), (3, 7)]),
  ],
)
def test_schedules_go_on_where_the_stage_continues(carries, found):
  overrides = [
    {'epochs': epochs, 'carry': carry}
    for epochs, carry in zip((2, 3, 4), carries, strict=True)
  ]
  made = plan(*overrides)
  assert [(stage.before, stage.total) for stage in made] == found


@pytest.mark.parametrize('own', [{'options.k': 3}, {'options': {'k': 3}}])
def test_an_option_that_every_stage_sets_is_not_lost_in_silence(own):
  given = {'method': 'pc_darts', 'options': {'k': 2}}
  with pytest.raises(errors.BadInput, match=r'options\.k is set by every'):
    plan(own, own, **given)
  assert plan(own, {'epochs': 2}, **given)[1].config.options.k == 2


def test_a_method_goes_on_where_its_options_are_the_same():
  goes = {'carry': 'continued'}
  other, gdas = {'options.warmup': 3}, {'method': 'gdas'}
  made = plan({}, goes, goes | other, goes | other, goes | gdas, method='sgas')
  assert [stage.goes_on for stage in made] == [False, True, False, True, False]
  kept = plan({}, {'carry': 'kept'}, method='sgas')
  assert not any(stage.goes_on for stage in kept)


def test_a_method_brings_its_own_stages_and_needs():
  made = plan(method='p_darts')
  assert [stage.config.model.layers for stage in made] == [5, 11, 17]
  assert [stage.carry for stage in made] == ['fresh'] * 3
  (single,) = plan({'epochs': 3}, method='p_darts')  # the config's own win
  assert (single.config.epochs, single.config.model.layers) == (3, 3)
  (needing,) = plan(method='darts_es')
  assert needing.config.sharpness.every == 2
  (given,) = plan(method='darts_es', **{'sharpness.every': 1})
  assert given.config.sharpness.every == 1


def entered(planned, change=lambda state: state):
  """A second stage's first state, from a changed first state of the first."""
  source = sources.find('digits', '')
  one, two = (search.begin(own, SPACE, source, 80) for own in planned)
  return two.enter(change(parallel.replicate(one.first())))


def heavier(state):
  weights = jax.tree.map(lambda w: w + 1, state.params['weights'])
  return state._replace(params={**state.params, 'weights': weights})


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


TINY = {'model.channels': 2, 'model.layers': 1}


def test_a_teacher_that_comes_later_begins_with_the_weights_of_then():
  begun = entered(plan({}, {'distill.teacher': 'mesa'}, **TINY), heavier)
  first = entered(plan({}, {}, **TINY))
  same(begun.memory.weights, heavier(first).params['weights'])
  same(begun.memory.stats, begun.stats)


def test_a_teacher_stays_where_the_weights_do():
  own = {'distill.teacher': 'mesa', **TINY}
  begun = entered(plan({}, {}, **own), heavier)
  fresh = entered(plan({}, {'carry': 'fresh'}, **own), heavier)
  before = jax.tree.map(lambda w: w + 1, begun.memory.weights)
  same(before, begun.params['weights'])
  same(fresh.memory.weights, fresh.params['weights'])


def test_a_teacher_is_as_wide_as_the_network():
  own = {'method': 'drnas', 'distill.teacher': 'mesa', **TINY}
  begun = entered(plan(**own | {'model.channels': 12}))
  same(begun.memory.weights, begun.params['weights'])
  same(begun.memory.stats, begun.stats)

"""The schedules of any stages against an epoch-by-epoch simulation."""

from hypothesis import given
from hypothesis import strategies as st

from configs import search_digits
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import stages

STAGES = st.fixed_dictionaries(
  {'epochs': st.integers(1, 5)},
  optional={
    'carry': st.sampled_from(stages.CARRIES),
    'method': st.sampled_from(['darts', 'gdas']),
  },
)


def simulated(overrides):
  """Of each schedule, the stage that each of its epochs is in.

  A schedule begins with the search, and with what does not go on.
  """
  schedules = []
  for number, own in enumerate(overrides):
    if not number or own.get('carry', 'kept') in ('fresh', 'kept'):
      schedules.append([])
    schedules[-1] += [number] * own['epochs']
  return schedules


@given(st.lists(STAGES, min_size=1, max_size=6))
def test_the_schedules_of_stages_that_go_on_join(overrides):
  config = search_digits.get_config()
  config.stages = tuple(overrides)
  made = stages.plan(config, SPACES['darts'])
  assert [stage.number for stage in made] == list(range(len(overrides)))
  for schedule in simulated(overrides):
    for number in dict.fromkeys(schedule):
      stage = made[number]
      assert stage.before == schedule.index(number)
      assert stage.config.epochs == schedule.count(number)
      assert stage.total == len(schedule)
      names = [own.get('method', config.method) for own in overrides]
      same = stage.before and names[number] == names[number - 1]
      assert stage.goes_on == bool(same)

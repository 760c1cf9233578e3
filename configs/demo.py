"""Is a searched cell better than random ones? On the digits, in minutes.

  python launch.py --config=configs/demo.py --workdir=runs/demo

The search and the trainings see the first 1,437 digits, the test is on the
other 360. The README holds the result.
"""

from ml_collections import ConfigDict

from configs import evaluate_digits
from configs import search_digits


def get_config() -> ConfigDict:
  """The experiment."""
  config = ConfigDict()
  config.task = 'study'
  config.search = search_digits.get_config()
  config.search.data.examples = 1437
  config.evaluate = evaluate_digits.get_config()
  config.variants = {'found': {}}  # from a name to what it changes
  config.seeds = 1  # searches
  config.repeats = 3  # trainings of the found network and of the baseline
  config.baselines = 'DARTS_V2'  # published cells, by commas
  config.randoms = 8  # random cells, each trained once
  return config

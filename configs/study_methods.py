"""Which method finds the best cell? All that seek one, by one recipe.

  python launch.py --config=configs/study_methods.py --workdir=runs/methods
  python launch.py --config=configs/study_methods.py:digits \\
    --workdir=runs/methods_digits

Each method searches with its own defaults and plain training, and once more
DARTS with self-distillation; what they find is trained beside a published cell
and random ones. At full size this is for several accelerators: start the
command in several processes, each with one, and they share the runs.
"""

from ml_collections import ConfigDict

from configs import demo
from configs import evaluate_cifar
from configs import search_cifar
from sdnas_jax.methods import make
from sdnas_jax.methods import METHODS


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar' or scaled down to the 'digits'."""
  if data not in ('cifar', 'digits'):
    raise ValueError(f"there is no {data!r} form: take 'cifar' or 'digits'")
  config = demo.get_config()
  config.repeats = 1
  if data == 'cifar':
    config.seeds = 3
    config.search = search_cifar.get_config()
    config.evaluate = evaluate_cifar.get_config()
  config.search.sharpness.every = 2  # some methods look at it themselves
  config.search.distill.weight = 0.0
  # A cell a layer is trained at the depth it is found at: another recipe.
  alike = [name for name in METHODS if 'per_cell' not in make(name, {}).model]
  config.variants = {name: {'search': {'method': name}} for name in alike}
  config.variants['sd_darts'] = {'search': {'distill': {'weight': 1.0}}}
  return config

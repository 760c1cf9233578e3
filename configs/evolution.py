"""Is a gradient worth it? DARTS beside evolution and random search.

  python launch.py --config=configs/evolution.py --workdir=runs/evolution
  python launch.py --config=configs/evolution.py:digits \\
    --workdir=runs/evolution_digits

Regularised evolution (Real et al., AAAI 2019) and random search train every
candidate, for a few epochs, and validate it on held-out training images; the
best one's cell is trained by the recipe itself, as is that of DARTS. Published:
3.34 +- 0.06 % test error of AmoebaNet-A on CIFAR-10, in 3,150 GPU days. This is
small: population 20 and sample 5 instead of 100 and 25, 100 candidates instead
of 20,000.
"""

from ml_collections import ConfigDict

from configs import demo
from configs import evaluate_cifar
from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar' or scaled down to the 'digits'."""
  if data not in ('cifar', 'digits'):
    raise ValueError(f"there is no {data!r} form: take 'cifar' or 'digits'")
  config = demo.get_config()
  config.repeats, config.randoms, config.baselines = 1, 0, ''
  config.variants = {'DARTS': {}}
  config.search.distill.weight = 0.0
  # What a training changes to choose by.
  config.select = {'data': {'examples': 1437, 'holdout': 360}, 'epochs': 10}
  sizes = {'population': 4, 'sample': 2, 'children': 6}
  if data == 'cifar':
    config.search = search_cifar.get_config()
    config.search.distill.weight = 0.0
    config.evaluate = evaluate_cifar.get_config()
    small = {'channels': 16, 'layers': 8}
    config.select = {
      **{'data': {'holdout': 5000}, 'epochs': 25, 'model': small},
      'weights': {'auxiliary': 0.0},
    }
    sizes = {'population': 20, 'sample': 5, 'children': 80}
  every = sizes['population'] + sizes['children']
  config.evolve = {
    'evolution': sizes,
    'random_search': {'population': every, 'sample': 1, 'children': 0},
  }
  return config

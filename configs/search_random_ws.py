"""Random search with weight sharing on CIFAR-10 (Li and Talwalkar, UAI 2019).

  python launch.py --config=configs/search_random_ws.py
  python launch.py --config=configs/search_random_ws.py:digits

DARTS's setting, not theirs, but for 300 epochs, since a path shares its steps
with all the others. Published: 2.85 +- 0.08 % test error with 4.3 M parameters,
the best of several searches.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'random_ws'
  if data == 'cifar':
    config.epochs = 300
  else:
    config.epochs = 64  # a path shares its steps with all the others
    config.options.samples = 100
  return config

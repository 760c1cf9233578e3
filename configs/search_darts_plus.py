"""DARTS+ on CIFAR-10 (Liang et al. 2019): stops before the skips take over.

  python launch.py --config=configs/search_darts_plus.py
  python launch.py --config=configs/search_darts_plus.py:digits

No code was released: the setting is DARTS's, by the first criterion. Published:
2.32 % test error on CIFAR-10, with a longer training of a larger network than
DARTS's.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'darts_plus'
  return config

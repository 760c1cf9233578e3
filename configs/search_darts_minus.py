"""DARTS- on CIFAR-10 (Chu et al., ICLR 2021), in the authors' setting.

  python launch.py --config=configs/search_darts_minus.py
  python launch.py --config=configs/search_darts_minus.py:digits

Published: 2.59 +- 0.08 % test error, 3.5 M parameters, in 0.4 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'darts_minus'
  return config

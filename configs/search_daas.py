"""DAAS on CIFAR-10 (Tian et al., PR 2021), in the authors' setting.

  python launch.py --config=configs/search_daas.py
  python launch.py --config=configs/search_daas.py:digits

Published: 2.44 % test error with 3.6 M parameters.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'daas'
  config.alphas.scale = 1e-4
  return config

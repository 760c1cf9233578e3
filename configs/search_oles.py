"""OLES on CIFAR-10 (Jiang et al., NeurIPS 2023), in the authors' setting.

  python launch.py --config=configs/search_oles.py
  python launch.py --config=configs/search_oles.py:digits

Published: 2.30 % test error. `--config.options.released=True` is the rule of
the authors' code.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'oles'
  config.weights.schedule = 'early_cosine'
  return config

"""beta-DARTS on CIFAR-10 (Ye et al., CVPR 2022).

  python launch.py --config=configs/search_beta_darts.py
  python launch.py --config=configs/search_beta_darts.py:digits

Published: 2.53 +- 0.08 % test error, 3.8 M parameters, in 0.4 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'beta_darts'
  return config

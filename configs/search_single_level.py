"""DARTS on one level, on CIFAR-10 (Liu et al., ICLR 2019, section 3.3).

  python launch.py --config=configs/search_single_level.py
  python launch.py --config=configs/search_single_level.py:digits

All images train weights and alphas together, so the validation sees them too.
The numbers are DARTS's; of that experiment none but the result is known.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'single_level'
  config.data.shared = True
  return config

"""SD-DARTS on CIFAR-100; otherwise `search_cifar`.

python launch.py --config=configs/search_cifar100.py
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config() -> ConfigDict:
  """The experiment."""
  config = search_cifar.get_config()
  config.data.name = 'cifar100'
  return config

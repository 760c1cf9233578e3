"""FairNAS on CIFAR-10 (Chu et al., ICCV 2021), in DARTS's space.

  python launch.py --config=configs/search_fairnas.py
  python launch.py --config=configs/search_fairnas.py:digits

The paper searches a space of its own, on ImageNet; this is DARTS's setting. A
step has seven passes. The evolution is as in configs/search_spos.py.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'fairnas'
  if data == 'digits':
    config.options.population = 20
    config.options.generations = 5
  return config

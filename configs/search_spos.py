"""SPOS on CIFAR-10 (Guo et al., ECCV 2020), in DARTS's space.

  python launch.py --config=configs/search_spos.py
  python launch.py --config=configs/search_spos.py:digits

The paper searches a space of its own, on ImageNet: its evolution's numbers are
the defaults, 50 paths in each of 20 generations; the rest is DARTS's setting.
An epoch more, at a rate of 0, gives the cell that is found its statistics.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'spos'
  if data == 'digits':
    config.epochs = 64  # a path shares its steps with all the others
    config.options.population = 20
    config.options.generations = 5
  return config

"""DARTS-PAP on CIFAR-10, a reconstruction: its formulas are not public.

  python launch.py --config=configs/search_darts_pap.py
  python launch.py --config=configs/search_darts_pap.py:digits

The setting is DARTS's; the penalty's weight is ours. Published, by its authors:
2.51 % test error with 3.9 M parameters, in 0.4 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'darts_pap'
  return config

"""DARTS-ADA on CIFAR-10 (Zela et al., ICLR 2020, R-DARTS).

  python launch.py --config=configs/search_darts_ada.py
  python launch.py --config=configs/search_darts_ada.py:digits

The authors measure on the last batch of the alphas, by second order.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'darts_ada'
  config.sharpness.every = 2
  if data == 'cifar':
    config.sharpness.protocol = 'robustdarts'
  else:  # of 16 epochs, 10 would be too many to wait for
    config.sharpness.every = config.options.first = 1
    config.sharpness.batches = 2
    config.sharpness.products = 8
  return config

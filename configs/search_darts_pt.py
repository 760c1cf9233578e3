"""DARTS-PT on CIFAR-10 (Wang et al., ICLR 2021), in the authors' setting.

  python launch.py --config=configs/search_darts_pt.py
  python launch.py --config=configs/search_darts_pt.py:digits

Its second stage decides, in 81 epochs: methods/darts_pt.py. Published: 2.61 +-
0.08 % test error, 3.0 M parameters, in 0.8 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'darts_pt'
  if data == 'digits':
    config.epochs = 8
    config.distill.warmup = 4
    config.options.interval = 1
  return config

"""SNAS on CIFAR-10 (Xie et al., ICLR 2019), in the authors' setting.

  python launch.py --config=configs/search_snas.py
  python launch.py --config=configs/search_snas.py:digits

All images train weights and alphas together, so the validation sees them too.
Published, with its mild cost, which is not here: 2.98 % with 2.9 M parameters.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'snas'
  config.data.shared = True
  config.alphas.clip = 10.0
  if data == 'cifar':
    config.epochs = 150
  return config

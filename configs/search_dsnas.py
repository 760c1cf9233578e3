"""DSNAS in DARTS's space (Hu et al., CVPR 2020), in the setting for cells.

  python launch.py --config=configs/search_dsnas.py
  python launch.py --config=configs/search_dsnas.py:digits

The numbers are those of the authors' variant for cells on CIFAR-10; what they
published is of ShuffleNet's blocks on ImageNet, 74.4 % top-1. All images train
weights and alphas together, so the validation sees them too.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'dsnas'
  config.data.shared = True
  config.alphas.clip = 10.0
  if data == 'cifar':
    config.epochs = 150
    config.batch_size = 96
  else:  # each step trains one operation in eight
    config.epochs = 64
    config.alphas.lr = 1e-2
  return config

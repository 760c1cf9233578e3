"""U-DARTS on CIFAR-10 (Huang et al., Information Sciences 2023).

  python launch.py --config=configs/search_u_darts.py
  python launch.py --config=configs/search_u_darts.py:digits

Published: 2.59 +- 0.06 % test error with 3.3 M parameters, in 4 GPU days, with
links between cells and an auxiliary head that are not here.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'u_darts'
  if data == 'cifar':
    config.epochs = 100
    config.data.cutout = 16
    config.model.layers = 20
  else:
    config.weights.lr = 0.1  # of few steps a path
  return config

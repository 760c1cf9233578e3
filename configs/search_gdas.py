"""GDAS on CIFAR-10 (Dong and Yang, CVPR 2019), in the authors' setting.

  python launch.py --config=configs/search_gdas.py
  python launch.py --config=configs/search_gdas.py:digits

Published: 2.93 % test error with 3.4 M parameters, in 0.21 GPU days. Their
supernet has 6 cells of NASNet's kind; here it stays DARTS's.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'gdas'
  config.weights.nesterov = True
  config.weights.decay = 5e-4
  if data == 'cifar':
    config.epochs = 250
    config.batch_size = 256
  return config

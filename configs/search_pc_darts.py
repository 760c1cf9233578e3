"""PC-DARTS on CIFAR-10 (Xu et al., ICLR 2020), in the authors' setting.

  python launch.py --config=configs/search_pc_darts.py
  python launch.py --config=configs/search_pc_darts.py:digits

Published: 2.57 +- 0.07 % test error, 3.6 M parameters, in 0.1 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'pc_darts'
  config.weights.lr_min = 0.0
  if data == 'cifar':
    config.batch_size = 256
    config.weights.lr = 0.1
    config.alphas.lr = 6e-4
    config.alphas.warmup = 15
  else:
    config.alphas.warmup = 5
  return config

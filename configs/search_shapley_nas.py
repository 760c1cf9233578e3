"""Shapley-NAS on CIFAR-10 (Xiao et al., CVPR 2022), in the authors' setting.

  python launch.py --config=configs/search_shapley_nas.py
  python launch.py --config=configs/search_shapley_nas.py:digits

Published: 2.43 +- 0.04 % test error, 3.6 M parameters, in 0.3 GPU days; readers
of their code report that they could not reproduce it.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'shapley_nas'
  config.weights.schedule = 'early_cosine'
  config.weights.lr_min = 0.0
  if data == 'cifar':
    config.batch_size = 256
    config.weights.lr = 0.1
  else:
    config.options.samples = 4
    config.options.images = 256
  return config

"""FairDARTS on CIFAR-10 (Chu et al., ECCV 2020), in the authors' setting.

  python launch.py --config=configs/search_fair_darts.py
  python launch.py --config=configs/search_fair_darts.py:digits

Published: 2.54 +- 0.05 % test error over seven searches, one network each. A
node keeps 0 to 2 pairs, so that a kind of cell may end without any, which no
network can be made of: then lower options.threshold, or search longer.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'fair_darts'
  config.weights.schedule = 'early_cosine'
  config.alphas.b1 = 0.9
  if data == 'cifar':
    config.batch_size = 128
    config.weights.lr = 0.005
    config.alphas.lr = 3e-3
  else:  # 240 steps, not 9,800
    config.alphas.lr = 3e-2
  return config

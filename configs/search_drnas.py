"""DrNAS on CIFAR-10 (Chen et al., ICLR 2021), in the authors' setting.

  python launch.py --config=configs/search_drnas.py
  python launch.py --config=configs/search_drnas.py:digits

Its second stage has wider operations: methods/drnas.py. Published: 2.46 +-
0.03 % test error, 4.1 M parameters, in 0.6 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar

STAGES = (
  {'epochs': 25, 'alphas.warmup': 10, 'options.k': 6, 'options.keep': 4},
  {'carry': 'widened', 'epochs': 25, 'alphas.warmup': 35, 'options.k': 4},
)
DIGITS = (
  {'epochs': 8, 'alphas.warmup': 3, 'options.k': 4, 'options.keep': 4},
  {'carry': 'widened', 'epochs': 8, 'alphas.warmup': 11, 'options.k': 2},
)


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'drnas'
  config.stages = STAGES if data == 'cifar' else DIGITS
  config.weights.lr_min = 0.0
  if data == 'cifar':
    config.model.channels = 36
    config.model.layers = 20
    config.weights.lr = 0.1
    config.alphas.lr = 6e-4
  return config

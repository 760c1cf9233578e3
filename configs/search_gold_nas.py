"""GOLD-NAS on CIFAR-10 (Bi et al. 2020), as a code that is not the authors'.

  python launch.py --config=configs/search_gold_nas.py
  python launch.py --config=configs/search_gold_nas.py:digits

Published: 2.5 to 2.9 % test error with 1.6 to 3.7 M parameters. The search ends
by itself, at 240 M multiply-adds; genotypes.jsonl has the cells of every epoch
before. Neither AutoAugment nor the auxiliary head of that code is here.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'gold_nas'
  config.space = 'gold'
  config.data.shared = True
  config.alphas.lr = 1.0
  config.alphas.b1 = 0.9  # the momentum
  config.alphas.decay = 0.0
  if data == 'cifar':
    config.epochs = 1000  # at most
    config.batch_size = 96
    config.data.cutout = 16
    config.model.channels = 36
    config.model.layers = 14
    config.weights.lr = config.weights.lr_min = 0.01
  else:
    config.epochs = 48
    config.options.min_flops = 2.0
    config.options.lam = 1e-3
  return config

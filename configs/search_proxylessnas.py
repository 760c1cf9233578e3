"""ProxylessNAS in DARTS's space (Cai et al., ICLR 2019): a setting of our own.

  python launch.py --config=configs/search_proxylessnas.py
  python launch.py --config=configs/search_proxylessnas.py:digits

No recipe for these cells was published: 2.08 % on CIFAR-10 is of another space,
of trees. The alphas' numbers are the authors' for ImageNet, with 40 epochs of
weights alone, then 120 of both, of which the first has no step of the alphas
either. One cosine of the weights' rate goes over all, where theirs has two.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'proxylessnas'
  config.weights.nesterov = True
  config.alphas.b1 = 0.0  # so that only a pair's alphas move
  config.alphas.decay = 0.0
  if data == 'cifar':
    config.epochs = 160
    config.alphas.warmup = 41
    config.alphas.lr = 1e-3
  else:  # each step trains one operation in eight
    config.epochs = 64
    config.alphas.warmup = 16
    config.alphas.lr = 3e-2
  return config

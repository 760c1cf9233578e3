"""ENAS on CIFAR-10 (Pham et al., ICML 2018), in DARTS's space.

  python launch.py --config=configs/search_enas.py
  python launch.py --config=configs/search_enas.py:digits

The policy is smaller than theirs (methods/enas.py), and so the setting is
DARTS's, but for the policy's rate, 3.5e-3, and no decay. Published: 2.89 % test
error with 4.6 M parameters, in 0.5 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'enas'
  config.alphas.lr = 3.5e-3
  config.alphas.decay = 0.0
  if data == 'digits':
    config.epochs = 64  # a path shares its steps with all the others
    config.alphas.lr = 3.5e-2  # ten times fewer steps than on CIFAR-10
  return config

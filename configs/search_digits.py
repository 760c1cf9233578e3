"""SD-DARTS in minutes on a laptop: scikit-learn's 1,797 real 8x8 digits.

  python launch.py --config=configs/search_digits.py --workdir=runs/digits

No download and no accelerator; the README holds what it finds and costs.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config() -> ConfigDict:
  """The experiment."""
  config = search_cifar.get_config()
  config.epochs = 16
  config.distill.warmup = 8
  config.data.name = 'digits'
  config.data.pad = 1
  config.data.flip = False  # a mirrored digit is another sign
  config.alphas.lr = 3e-3  # 240 steps, not 19,550: each ten times as long
  config.model.channels = 4
  config.model.layers = 3
  return config

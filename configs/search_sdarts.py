"""SDARTS-RS and -ADV on CIFAR-10 (Chen and Hsieh, ICML 2020).

  python launch.py --config=configs/search_sdarts.py --config.method=sdarts_rs
  python launch.py --config=configs/search_sdarts.py:digits

The adversarial one without a method. Published: 2.67 +- 0.03 % (RS) and 2.61 +-
0.02 % (ADV) test error, 3.4 and 3.3 M parameters, in 0.4 and 1.3 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'sdarts_adv'
  config.weights.schedule = 'early_cosine'
  return config

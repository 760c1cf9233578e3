"""Does self-distillation flatten the loss? On CIFAR-10, at the paper's size.

  python launch.py --config=configs/sharpness_cifar.py --workdir=runs/sharpness

Six full searches (Zhu et al. 2023, Figure 2): DARTS and SD-DARTS with three
seeds each. Meant for an accelerator; what a cut-down run showed on a CPU, and
its command, is in docs/results.md.
"""

from ml_collections import ConfigDict

from configs import search_cifar
from configs import sharpness_digits


def get_config() -> ConfigDict:
  """The experiment."""
  config = sharpness_digits.get_config()
  config.search = search_cifar.get_config()
  config.search.sharpness.every = 2
  config.search.sharpness.landscape = 21
  config.search.sharpness.spectrum = True
  return config

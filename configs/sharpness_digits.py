"""Does self-distillation flatten the loss? On the digits, in minutes.

  python launch.py --config=configs/sharpness_digits.py --workdir=runs/sharpness

The paper's Figure 2 (Zhu et al. 2023): DARTS against SD-DARTS, by the largest
eigenvalue of the alpha-Hessian of the validation loss. What it shows here is in
docs/results.md.
"""

from ml_collections import ConfigDict

from configs import search_digits


def get_config() -> ConfigDict:
  """The experiment."""
  config = ConfigDict()
  config.task = 'study'
  config.seeds = 3
  config.search = search_digits.get_config()
  config.search.sharpness.every = 2
  config.search.sharpness.batches = 2
  config.search.sharpness.products = 8
  config.search.sharpness.landscape = 11
  config.search.sharpness.spectrum = True
  config.variants = {  # from a name to what it changes
    'DARTS': {'search': {'distill': {'weight': 0.0}}},
    'SD-DARTS': {},
  }
  return config

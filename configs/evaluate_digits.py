"""Trains a small derived network on scikit-learn's digits, in minutes.

  python launch.py --config=configs/evaluate_digits.py --workdir=runs/found \\
    --config.genotype=runs/digits/genotype.json

It trains on the first 1,437 of the 1,797 digits and tests on the last 360.
"""

from ml_collections import ConfigDict

from configs import evaluate_cifar


def get_config() -> ConfigDict:
  """The experiment."""
  config = evaluate_cifar.get_config()
  config.epochs = 40
  config.batch_size = 64
  config.data.name = 'digits'
  config.data.holdout = 360
  config.data.pad = 1
  config.data.flip = False  # a mirrored digit is another sign
  config.data.cutout = 2
  config.model.channels = 4
  config.model.layers = 3
  config.weights.auxiliary = 0.0  # images of 8 pixels are too small for it
  config.weights.drop_path = 0.0
  return config

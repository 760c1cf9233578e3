"""Trains a derived network on CIFAR-100; otherwise `evaluate_cifar`.

python launch.py --config=configs/evaluate_cifar100.py
"""

from ml_collections import ConfigDict

from configs import evaluate_cifar


def get_config() -> ConfigDict:
  """The experiment."""
  config = evaluate_cifar.get_config()
  config.data.name = 'cifar100'
  return config

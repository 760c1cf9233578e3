"""Trains a cell of NAS-Bench-201 as the benchmark did, on CIFAR-10 by default.

  python launch.py --config=configs/evaluate_nasbench201.py \\
    --config.genotype=runs/search_nasbench201/genotype.json
  python launch.py --config=configs/evaluate_nasbench201.py:12
  python launch.py --config=configs/evaluate_nasbench201.py \\
    --config.data.name=imagenet16-120 --config.data.pad=2

The recipe is Dong and Yang's (ICLR 2020, section 2.3 and their code), over 200
epochs or, with `:12`, over 12. Published for the cell below: 94.36 % and
88.66 % test accuracy on CIFAR-10.
"""

from ml_collections import ConfigDict

from configs import evaluate_cifar


def get_config(epochs: str = '200') -> ConfigDict:
  """The experiment, over so many epochs: '12' or '200', as the benchmark's."""
  if epochs not in ('12', '200'):
    raise ValueError(f'no training takes {epochs!r} epochs: take 12 or 200')
  config = evaluate_cifar.get_config()
  # An index, or an architecture string, or a genotype.json.
  config.genotype = '9930'
  config.epochs = int(epochs)
  config.batch_size = 256
  config.data.cutout = 0
  config.model.channels = 16
  config.model.layers = 5  # to each of three stages
  config.weights.lr = 0.1
  config.weights.nesterov = True
  config.weights.decay = 5e-4
  config.weights.clip = 1e6  # never reached
  config.weights.auxiliary = 0.0
  config.weights.drop_path = 0.0
  return config

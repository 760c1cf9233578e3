"""P-DARTS on CIFAR-10 (Chen et al., ICCV 2019), in the authors' setting.

  python launch.py --config=configs/search_p_darts.py
  python launch.py --config=configs/search_p_darts.py:digits

Three stages of 25 epochs, which are the method's own: methods/p_darts.py.
Published: 2.50 % test error, 3.4 M parameters, in 0.3 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar

# On the digits.
STAGES = tuple(
  {
    **{'model.layers': layers, 'epochs': 6, 'carry': 'fresh'},
    **{'alphas.warmup': 2, 'distill.warmup': 3, 'options.warmup': 2},
    **{'options.keep': keep, 'options.dropout': dropout},
  }
  for layers, keep, dropout in ((2, 5, 0.1), (3, 3, 0.4), (4, 1, 0.7))
)


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'p_darts'
  config.weights.lr_min = 0.0
  config.alphas.clip = 5.0
  if data == 'cifar':
    config.batch_size = 96
    config.alphas.lr = 6e-4
    config.epochs = 25
    config.distill.warmup = 12
  else:
    config.stages = STAGES
  return config

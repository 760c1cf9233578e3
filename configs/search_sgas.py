"""SGAS on CIFAR-10 (Li et al., CVPR 2020), in the authors' setting.

  python launch.py --config=configs/search_sgas.py
  python launch.py --config=configs/search_sgas.py:digits

The batch grows by 8 after each decision; as the criterion, `--config.options.
criterion=2` is the other. Published: 2.66 +- 0.24 % (best 2.39), 3.7 M
parameters, in 0.25 GPU days.
"""

from ml_collections import ConfigDict

from configs import search_cifar

# Of 50 epochs; the schedules go on over all.
STAGES = (
  {'epochs': 10},
  *(
    {'epochs': 5, 'batch_size': 64 + 8 * n, 'carry': 'continued'}
    for n in range(1, 9)
  ),
)


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'sgas'
  config.weights.schedule = 'early_cosine'
  if data == 'cifar':
    config.stages = STAGES
  else:
    config.options.warmup = 3
    config.options.interval = 2
  return config

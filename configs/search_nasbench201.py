"""SD-DARTS on NAS-Bench-201's space (Dong and Yang, ICLR 2020).

  python launch.py --config=configs/search_nasbench201.py
  python launch.py --config=configs/search_nasbench201.py:others
  python launch.py --config=configs/search_nasbench201.py \\
    --config.data.name=cifar100
  python launch.py --config=configs/search_nasbench201.py \\
    --config.data.name=imagenet16-120 --config.data.pad=2

The data are CIFAR-10, or either of the other two sets of the benchmark, whose
authors pad images of 16 pixels by 2. The settings are theirs for DARTS; with
`:others`, of the papers that search longer, with plain momentum (SmoothDARTS,
DARTS-PT, Beta-DARTS). What each epoch's cell reaches when trained is looked up:
docs/nasbench201.md. Published, on CIFAR-10: 93.91 +- 0.08 % test accuracy (Zhu
et al. 2023, Table 4, "settings the same as DARTS"); plain DARTS ends on skip
connections alone, at 54.30 %.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(setting: str = 'authors') -> ConfigDict:
  """The experiment, in the setting of the 'authors' or of the 'others'."""
  if setting not in ('authors', 'others'):
    raise ValueError(
      f"there is no {setting!r} setting: take 'authors' or 'others'"
    )
  config = search_cifar.get_config()
  config.space = 'nasbench201'
  config.alphas.rho = 0.01
  config.model.layers = 5  # to each of three stages
  config.model.affine = False  # the cells' normalisation; if not, biases
  config.model.tracked = True  # validate by running statistics, or the batch's
  config.rank = rank = ConfigDict()
  rank.samples = 0  # architectures that the supernet ranks, at the end
  rank.batches = 16  # of the valid half, the first, to rank them on
  if setting == 'authors':
    config.weights.nesterov = True
    config.weights.decay = 5e-4
  else:
    config.epochs = 100
    config.distill.warmup = 50
  return config

"""Lambda-DARTS on CIFAR-10 (Movahedi et al., TMLR 2023), in DARTS's setting.

  python launch.py --config=configs/search_lambda_darts.py
  python launch.py --config=configs/search_lambda_darts.py:digits

The authors' numbers for this space; on NAS-Bench-201 they search for 100 epochs
with `options.lam` 0.25 and `alphas.lr` 1e-4. Published there: 94.36 % test
accuracy on CIFAR-10. `--config.options.eps=1e-4` is the difference of the
release.
"""

from ml_collections import ConfigDict

from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar', or in minutes on the 'digits'."""
  config = search_cifar.plain(data)
  config.method = 'lambda_darts'
  return config

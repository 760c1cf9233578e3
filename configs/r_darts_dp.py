"""R-DARTS(DP): how many paths must be dropped? (Zela et al., ICLR 2020)

  python launch.py --config=configs/r_darts_dp.py --workdir=runs/r_darts_dp
  python launch.py --config=configs/r_darts_dp.py:digits \\
    --workdir=runs/r_darts_dp_digits
  python launch.py --config=configs/r_darts_dp.py --config.search.space=s1 \\
    --workdir=runs/r_darts_dp_s1

As r_darts.py, with four probabilities by which a search drops mixed edges, in
its last epoch, in place of four decays. Where it drops any, it cuts squares out
of images too, as in the authors' scripts. They train what is found in S1 to S4
with 16 channels and 8 cells: --config.evaluate.model.channels=16
--config.evaluate.model.layers=8.
"""

from ml_collections import ConfigDict

from configs import r_darts


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar' or scaled down to the 'digits'."""
  config = r_darts.get_config(data)
  cutout = config.evaluate.data.cutout  # as large as in the training
  config.field = 'weights.drop_path'
  config.variants = {
    name: {
      'search': {
        'weights': {'drop_path': float(name)},
        'data': {'cutout': cutout * (float(name) > 0)},
      }
    }
    for name in ('0e-1', '2e-1', '4e-1', '6e-1')
  }
  return config

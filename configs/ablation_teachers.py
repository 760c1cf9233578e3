"""How many past supernets to learn from: the paper's Figure 6, the window K.

  python launch.py --config=configs/ablation_teachers.py --workdir=runs/teachers
  python launch.py --config=configs/ablation_teachers.py:digits \\
    --workdir=runs/teachers_digits

The warm-up is the search's own, 25 epochs in the paper's section 5.2, which
finds K = 2 best. Cost and scale are those of `ablation_warmup.py`.
"""

from ml_collections import ConfigDict

from configs import ablation_warmup
from configs import search_cifar


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar' or scaled down to the 'digits'."""
  config = ablation_warmup.get_config(data)
  config.field = 'distill.teachers'
  config.variants = {
    f'{level}': {'search': {'distill': {'teachers': level}}}
    for level in (1, 2, 3, 4, 5)
  }
  full = search_cifar.get_config()
  config.search.distill.teachers = full.distill.teachers
  if data == 'digits':
    config.search.distill.warmup = 5
  return config

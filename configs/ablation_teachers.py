"""How many past supernets to learn from: the paper's Figure 6, the window K.

  python launch.py --config=configs/ablation_teachers.py --workdir=runs/teachers
  python launch.py --config=configs/ablation_teachers.py:digits \\
    --workdir=runs/teachers_digits
  python launch.py --config=configs/ablation_teachers.py:digits_averages \\
    --workdir=runs/averages_digits

The warm-up is the search's own, 25 epochs in the paper's section 5.2, which
finds K = 2 best. Cost and scale are those of `ablation_warmup.py`. With
`cifar_averages` or `digits_averages` K stays, and who teaches changes: the
paper's Remark 2 argues against averaging weights, as MESA and Mean Teacher do.
All else is the same, so their own weights, metrics and temperatures are not in
it. On the digits' few steps averages are shorter.
"""

from ml_collections import ConfigDict

from configs import ablation_warmup
from configs import search_cifar


def get_config(what: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar' or scaled down to the 'digits'."""
  data = what.removesuffix('_averages')
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
  if what != data:
    config.field = ''
    config.variants = {
      name: {'search': {'distill': own}}
      for name, own in averages(data == 'digits').items()
    }
  return config


def averages(short: bool) -> dict[str, dict[str, str | float]]:
  """From a variant's name to the fields of `distill` that it changes."""
  return {
    'untaught': {'weight': 0.0},
    'window': {'teacher': 'window'},
    'mesa': {'teacher': 'mesa', 'decay': 0.9 if short else 0.9998},
    'mean_teacher': {
      'teacher': 'mean_teacher',
      'decay': 0.9 if short else 0.999,
    },
  }

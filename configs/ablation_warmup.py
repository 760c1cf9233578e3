"""How long to warm up before distilling: the paper's Figure 5.

  python launch.py --config=configs/ablation_warmup.py --workdir=runs/warmup
  python launch.py --config=configs/ablation_warmup.py:digits \\
    --workdir=runs/warmup_digits

One teacher (K = 1), as in the paper's section 5.1, which finds 25 epochs best;
its figure's values are read as steps of ten. At full size this is 15 searches
and as many trainings: start the command in several processes, each with its
accelerator, and they share them. What the digits showed: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import evaluate_cifar
from configs import evaluate_digits
from configs import search_cifar
from configs import search_digits


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar' or scaled down to the 'digits'."""
  if data not in ('cifar', 'digits'):
    raise ValueError(f"there is no {data!r} form: take 'cifar' or 'digits'")
  config = ConfigDict()
  config.task = 'study'
  config.seeds = 3
  if data == 'digits':
    config.seeds = 2
    config.search = search_digits.get_config()
    config.search.epochs = 10
    config.search.data.examples = 1437  # the rest is the test
    config.evaluate = evaluate_digits.get_config()
    config.evaluate.epochs = 20
  else:
    config.search = search_cifar.get_config()
    config.evaluate = evaluate_cifar.get_config()
  config.search.distill.teachers = 1
  levels = (1, 3, 5, 7, 9) if data == 'digits' else (5, 15, 25, 35, 45)
  config.field = 'distill.warmup'  # of the search, which the variants change
  config.variants = {
    f'{level}': {'search': {'distill': {'warmup': level}}} for level in levels
  }
  return config

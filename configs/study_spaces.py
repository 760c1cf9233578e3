"""Which methods find skips alone? S1 to S4 of R-DARTS (Zela et al., ICLR 2020).

  python launch.py --config=configs/study_spaces.py:digits \\
    --workdir=runs/spaces_digits
  python launch.py --config=configs/study_spaces.py --workdir=runs/spaces

In these spaces DARTS finds cells of little but skips, or in S4 of noise. Each
method searches each with its own defaults; `study.md` has what is in the normal
cells, and the error of what they make. At full size this is for several
accelerators: start the command in several processes, and they share the runs.
"""

from ml_collections import ConfigDict

from configs import demo
from configs import evaluate_cifar
from configs import search_cifar

SPACES = 's1', 's2', 's3', 's4'
METHODS = (
  *('darts', 'sd_darts', 'darts_plus', 'darts_minus', 'sdarts_rs', 'pc_darts'),
  *('beta_darts', 'darts_pt', 'fair_darts'),
)
WITH_SKIPS = 'darts_plus', 'darts_minus'  # which S4 has none of
OWN = {
  'sd_darts': {'method': 'darts', 'distill': {'weight': 1.0}},
  'fair_darts': {'alphas': {'b1': 0.9, 'lr': 3e-3}},
}
DIGITS = {
  'darts_pt': {'epochs': 8, 'options': {'interval': 1}},
  'fair_darts': {'alphas': {'b1': 0.9, 'lr': 3e-2}},
}


def get_config(data: str = 'cifar') -> ConfigDict:
  """The experiment, on 'cifar' or scaled down to the 'digits'."""
  if data not in ('cifar', 'digits'):
    raise ValueError(f"there is no {data!r} form: take 'cifar' or 'digits'")
  config, own = demo.get_config(), OWN
  config.repeats, config.randoms, config.baselines = 1, 0, ''
  config.seeds = 3
  if data == 'cifar':
    config.search = search_cifar.get_config()
    config.evaluate = evaluate_cifar.get_config()
    config.evaluate.model.channels = 16
    config.evaluate.model.layers = 8
    config.evaluate.weights.drop_path = 0.2
  else:
    own = OWN | DIGITS
  config.search.distill.weight = 0.0
  config.variants = {
    f'{space}_{name}': {
      'search': {'method': name, 'space': space, **own.get(name, {})}
    }
    for space in SPACES
    for name in METHODS
    if space != 's4' or name not in WITH_SKIPS
  }
  return config

"""The paper's Table 4: do DARTS and SD-DARTS find good cells of NAS-Bench-201?

  python launch.py --config=configs/table_nasbench201.py --workdir=runs/table
  python launch.py --config=configs/table_nasbench201.py:proxy \\
    --workdir=runs/proxy

Searches on CIFAR-10 with three seeds a method; what they find is looked up on
all three data sets (Zhu et al. 2023, section 4.4). The first is meant for an
accelerator. The second, on 2,048 images with 3 small cells, is for two cores;
with `:digits` it needs no data to be loaded, and the truth is still that of
CIFAR-10. What they cost and showed is in docs/nasbench201.md.
"""

from ml_collections import ConfigDict

from configs import search_nasbench201

SCALES = 'full', 'proxy', 'digits'


def get_config(scale: str = 'full') -> ConfigDict:
  """The experiment, at one of the SCALES."""
  if scale not in SCALES:
    raise ValueError(f'there is no {scale!r} scale: take one of {SCALES}')
  config = ConfigDict()
  config.task = 'study'
  config.seeds = 3
  config.search = search = search_nasbench201.get_config()
  search.sharpness.every = 5
  search.rank.samples = 200
  # From a name, Table 4's where it is there, to what it changes.
  plain = {'distill': {'weight': 0.0}}
  config.variants = {'DARTS': {'search': plain}, 'SD-DARTS': {}}
  if scale == 'full':
    second = {'search': {'method': 'darts2', **plain}}
    config.variants['DARTS (2nd)'] = second
    return config

  search.model.channels, search.model.layers = 4, 1
  search.epochs, search.distill.warmup = 20, 10
  # 320 steps for the full 19,550: the alphas travel half as far.
  search.alphas.lr = 1e-2
  search.data.examples = 2048
  search.sharpness.every = 4
  search.sharpness.batches, search.sharpness.products = 2, 8
  search.rank.samples, search.rank.batches = 50, 4
  if scale == 'digits':
    search.data.name, search.data.pad, search.data.flip = 'digits', 1, False
    search.data.examples = 0
  return config

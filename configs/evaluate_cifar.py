"""Trains a derived network on CIFAR-10 from scratch (SD-DARTS, section 4.2).

  python launch.py --config=configs/evaluate_cifar.py --workdir=runs/darts_v2
  python launch.py --config=configs/evaluate_cifar.py --workdir=runs/found \\
    --config.genotype=runs/cifar/genotype.json

The recipe is DARTS's with the paper's drop path. Published: DARTS_V2 2.76 +-
0.09 % test error with 3.3 M parameters (Liu et al. 2019), SD-DARTS's cell 2.58
+- 0.11 % (Zhu et al. 2023, Table 2), in about a day on one GPU of their time.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """The experiment."""
  config = ConfigDict()
  config.task = 'evaluate'
  config.genotype = 'DARTS_V2'  # or another name, or a file
  config.seed = 0
  config.epochs = 600
  config.batch_size = 96
  config.steps_per_call = 0  # 0: what takes about a second

  config.data = data = ConfigDict()
  data.name = 'cifar10'  # or 'folder', 'arrays', any of TFDS: --list
  data.dir = ''  # or the folder or file; '': TFDS_DATA_DIR, or TFDS's default
  data.size = 0  # side of pictures of several sizes; 0: their median, to 32
  data.examples = 0  # 0: all; else the first so many training images
  data.order = (
    'auto'  # own data by class; 'file': as benchmarks come; 'classes'
  )
  data.holdout = 0  # the last so many are the test; 0: the data set's own test
  data.pad = 4
  data.flip = True
  data.cutout = 16
  data.jitter = 0.0  # of brightness, contrast and saturation
  data.hue = 0.0  # turns of the colour circle

  config.model = model = ConfigDict()
  model.channels = 36
  model.layers = 20
  model.imagenet = False  # whether two stems reduce the resolution eightfold
  model.drop_nodes = False  # paths are dropped behind a node's sum (FairDARTS)
  # Or 'grouped', 'dense', 'shifted', 'space_to_batch', 'native': docs/speed.md
  model.depthwise = 'auto'
  model.bf16 = False  # compute in bfloat16, with float32 statistics and losses

  config.weights = weights = ConfigDict()
  weights.lr = 0.025
  weights.lr_min = 0.0
  weights.schedule = 'cosine'  # or 'linear'
  weights.warmup = 0  # first epochs, of a lower rate
  weights.momentum = 0.9
  weights.nesterov = False
  weights.decay = 3e-4
  weights.clip = 5.0
  weights.auxiliary = 0.4  # of the auxiliary head's loss; 0: no such head
  weights.smoothing = 0.0  # of the labels
  weights.drop_path = 0.3  # at the end; it grows linearly with the epochs
  return config

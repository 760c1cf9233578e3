"""Trains a derived network on ImageNet from scratch (SD-DARTS, section 4.3).

  python launch.py --config=configs/evaluate_imagenet.py \\
    --workdir=runs/imagenet --config.genotype=runs/cifar/genotype.json

The recipe is that of P-DARTS and PC-DARTS, which the paper's follows.
Published: DARTS_V2 26.7 % test error, top-5 8.7 %, with 4.7 M parameters (Liu
et al. 2019); SD-DARTS's cell 25.0 %, in three GPU days on three RTX 3090 (Zhu
et al. 2023, section 4.3 and Table 3). Only small stand-ins for the data were
run here.

TFDS cannot download ImageNet: put ILSVRC2012_img_train.tar and
ILSVRC2012_img_val.tar into downloads/manual of its folder, and the first run
prepares them; of several hosts, prepare them on one first.
"""

from ml_collections import ConfigDict

from configs import evaluate_cifar


def get_config() -> ConfigDict:
  """The experiment."""
  config = evaluate_cifar.get_config()
  config.epochs = 250
  config.batch_size = 1024
  config.data.name = 'imagenet2012'
  config.data.pad = 0  # the stream has cropped at random
  config.data.cutout = 0
  config.data.jitter = 0.4
  config.data.hue = 0.2
  config.model.channels = 48
  config.model.layers = 14
  config.model.imagenet = True
  config.weights.lr = 0.5
  config.weights.schedule = 'linear'
  config.weights.warmup = 5
  config.weights.decay = 3e-5
  config.weights.smoothing = 0.1
  config.weights.drop_path = 0.0
  return config

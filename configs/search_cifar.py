"""SD-DARTS on CIFAR-10: the paper's search (Zhu et al. 2023, section 4.1).

  python launch.py --config=configs/search_cifar.py --workdir=runs/cifar

Every number is the paper's (its Table 1 and section 4.1) or, where the paper
says "as DARTS", that of DARTS. Published: a cell with 2.58 +- 0.11 % test
error on CIFAR-10, found in 0.37 days on one GTX 3090. Fields of `distill`,
`method` and `alphas.warmup` settle what it leaves open: docs/decisions.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """The experiment."""
  config = ConfigDict({'task': 'search'})
  config.space = 'darts'
  config.method = 'darts'  # first order; second: 'darts2'; others: --list
  config.options = ConfigDict()  # the method's own numbers
  config.stages = ()  # the method's own; see sdnas_jax/tasks/stages.py
  config.seed = 0
  config.epochs = 50
  config.batch_size = 64
  config.steps_per_call = 0  # 0: what takes about a second

  config.data = data = ConfigDict()
  data.name = 'cifar10'  # or 'folder', 'arrays', any of TFDS: --list
  data.dir = ''  # or the folder or file; '': TFDS_DATA_DIR, or TFDS's default
  data.size = 0  # side of pictures of several sizes; 0: their median, to 32
  data.examples = 0  # 0: all; else the first so many
  data.order = (
    'auto'  # own data by class; 'file': as benchmarks come; 'classes'
  )
  data.shared = False  # both groups train on all, as in searches on one level
  data.pad = 4
  data.flip = True
  data.cutout = 0

  config.model = model = ConfigDict()
  model.channels = 16
  model.layers = 8
  # Or 'grouped', 'dense', 'shifted', 'space_to_batch', 'native': docs/speed.md
  model.depthwise = 'auto'
  model.bf16 = False  # compute in bfloat16, with float32 statistics and losses
  model.remat = False  # less memory: compute cells again in the backward pass

  config.weights = weights = ConfigDict()
  weights.lr = 0.025
  weights.lr_min = 0.001
  weights.momentum = 0.9
  weights.nesterov = False
  weights.decay = 3e-4
  weights.clip = 5.0
  weights.schedule = 'cosine'  # early_cosine, linear
  weights.warmup = 0  # epochs in which the rate rises
  weights.drop_path = 0.0  # of mixed edges, in the last epoch (R-DARTS)
  weights.rule = 'plain'  # sam, asam, gradient_norm
  weights.rho = 0.05  # of 'sam'; published of 'asam' 0.5, 'gradient_norm' 0.1
  weights.eta = 0.01  # of 'asam'
  weights.balance = 0.8  # of 'gradient_norm'

  config.alphas = alphas = ConfigDict()
  alphas.lr = 3e-4
  alphas.b1 = 0.5
  alphas.b2 = 0.999
  alphas.decay = 1e-3
  alphas.scale = 1e-3  # of the first values
  alphas.warmup = 0  # epochs before they move
  alphas.clip = 0.0  # of their gradient's norm; 0: none
  alphas.rule = 'plain'  # or 'a2m'
  alphas.rho = 0.1  # of 'a2m'
  # adam, lazy_adam, sgd (b1 its momentum); '': the method's, or adam
  alphas.optimizer = ''

  config.distill = distill = ConfigDict()
  distill.warmup = 25
  distill.ramp = 0  # epochs behind it in which the weight rises
  distill.weight = 1.0  # lambda; 0: plain DARTS
  distill.teacher = 'window'  # lag, ema, mesa, mean_teacher
  distill.teachers = 2  # K, the window's; of 'lag', how many epochs ago
  distill.decay = 0.5  # of 'ema'; published of 'mesa' 0.9998, a step
  # Or reverse_kl, euclidean, manhattan, cosine, squared.
  distill.metric = 'kl'
  distill.temperature = 1.0

  config.sharpness = sharpness = ConfigDict()
  sharpness.every = 0  # epochs from one measurement to the next; 0: none
  sharpness.of = 'alphas'  # or 'weights': what the loss is a function of
  sharpness.protocol = 'probe'  # or 'robustdarts': the last batch of the alphas
  sharpness.batches = 4  # of the probe: the first of the valid half
  sharpness.products = 16  # Hessian-vector products of an eigenvalue
  sharpness.radius = 0.05  # of the ball in which the loss's rise is looked for
  sharpness.climbs = 3  # gradients that look for it
  sharpness.landscape = 0  # points of each of two directions, at the end
  sharpness.spectrum = False  # all eigenvalues, at the end
  return config


def plain(data: str) -> ConfigDict:
  """Plain DARTS on 'cifar' or the 'digits', for configs of other methods."""
  if data not in ('cifar', 'digits'):
    raise ValueError(f"there is no {data!r} form: take 'cifar' or 'digits'")
  if data == 'digits':
    from configs import search_digits  # which imports this

    config = search_digits.get_config()
  else:
    config = get_config()
  config.distill.weight = 0.0
  return config

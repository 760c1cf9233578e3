"""The search task: from a config to a genotype, its picture and its record."""

import functools
import math
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import compilation
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax import search
from sdnas_jax import sharpness
from sdnas_jax.analysis import truth
from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import sources
from sdnas_jax.data import split
from sdnas_jax.kernels import depthwise
from sdnas_jax.methods import METHODS
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.runs import checkpoints
from sdnas_jax.runs import folder
from sdnas_jax.runs import loop
from sdnas_jax.runs import record
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import check
from sdnas_jax.tasks import measure
from sdnas_jax.tasks import rank
from sdnas_jax.tasks import report

Tree = Any
# By what is found: all spaces of normal and reduction cells have one.
SUPERNETS = {
  spaces.Genotype: supernet.Supernet,
  cells.Genotype: nasbench201.Supernet,
}


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool) -> None:
  """Searches, or with `dry_run` only says what a search would take."""
  compilation.keep()
  malloc.keep()
  check.search(config)
  check.hosts(config)
  source = sources.find(config.data.name, config.data.dir)
  examples = check.sizes(config, source, jax.device_count())
  space = SPACES[config.space]
  halves = examples // 2, examples - examples // 2
  setup = assemble(config, space, source, halves[0])
  if setup.net.depthwise is None and not dry_run:
    depthwise.prepare(setup.net.bf16)
  grouped = setup.net.clone(depthwise='grouped')  # needs nothing compiled
  shapes = sizing.shapes(grouped, source.shape, mix_shapes(space))
  if dry_run:
    return _plan(config, setup, grouped, source, shapes, halves, workdir)

  folder.enter(workdir, config)
  print(f'{jax.device_count()} x {jax.devices()[0].device_kind}', end='; ')
  print(f'{source.classes} classes, {halves[0]} + {halves[1]} examples')
  if note := truth.note(config.space, config.data.name):
    print(note)
  print(sizing.overview(sizing.parts(shapes['params'])), flush=True)

  images, labels = sources.load(source, examples)
  folder.claim(workdir, config)
  kept = checkpoints.manager(workdir / 'checkpoints')
  first = functools.partial(
    first_state, config, setup, space, source, shapes, halves[0]
  )
  state = checkpoints.latest(kept, jax.eval_shape(first))
  if state is None:
    state = parallel.replicate(first())
  done = int(state.epoch)
  log = record.Record(
    workdir, space, setup.method, config.epochs, done, config.data.name
  )
  cut = halves[0]
  train = parallel.replicate(split.Split(images[:cut], labels[:cut]))
  valid = parallel.replicate(split.Split(images[cut:], labels[cut:]))
  stopped = parallel.most(int(log.stopped is not None))[0]
  if done < config.epochs and not stopped:
    if int(state.step):
      print(f'resuming after {done} of {config.epochs} epochs', flush=True)
    state = _search(config, setup, state, train, valid, log, kept)
  measure.portrait(config, setup, state, valid, workdir)
  rank.add(config, setup, state, valid, workdir)
  if parallel.leads():
    log.result(parameters=sizing.size(shapes['params']))
    report.write(workdir)
    print(log.conclusion())
  print(f'peak memory {malloc.peak():.2f} GB')


def assemble(
  config: ConfigDict, space: spaces.Space, source: sources.Source, half: int
) -> search.Setup:
  """The parts that the config names."""
  w, a, data = config.weights, config.alphas, config.data
  steps = split.batches(half, config.batch_size)
  rate = w.lr, w.lr_min, config.epochs, steps
  sgd = rate, w.momentum, w.decay, w.clip, w.nesterov
  model = config.model.to_dict()
  if model['depthwise'] == 'auto':
    model['depthwise'] = None
  return search.Setup(
    net=SUPERNETS[space.genotype](space, source.classes, **model),
    tx=_transformation(sgd, (a.lr, a.b1, a.b2, a.decay)),
    method=METHODS[config.method],
    distill=distill.make(**config.distill),
    augment=augment.Augment(data.pad, data.flip, data.cutout),
    mean=source.mean,
    std=source.std,
    batch_size=config.batch_size,
    epochs=config.epochs,
    alpha_warmup=a.warmup,
  )


@functools.cache  # equal ones are one to a compiled step
def _transformation(weights, alphas):
  rate, *rest = weights
  sgd = optimizers.sgd(optimizers.cosine(*rate), *rest)
  return optimizers.split(sgd, optimizers.adam(*alphas))


def mix_shapes(space: spaces.Space) -> dict[str, jax.ShapeDtypeStruct]:
  """Of the supernet's mixing weights."""
  return {
    k: jax.ShapeDtypeStruct(space.shape, jnp.float32) for k in space.kinds
  }


def first_state(config, setup, space, source, shapes, examples):
  """The state before the first step, a function of the seed alone."""
  variables = sizing.variables(shapes, config.seed)
  rng = np.random.default_rng((config.seed, 1))
  alphas = {
    kind: np.float32(config.alphas.scale * rng.standard_normal(space.shape))
    for kind in space.kinds
  }
  mask = {kind: np.ones(space.shape, bool) for kind in space.kinds}
  return search.init(setup, variables, alphas, mask, examples, source.classes)


def _advance(state, seed, train, valid, stop, setup):
  key = jax.random.key(seed)
  return search.advance(state, key, train, valid, stop, setup)


def _validate(state, seed, valid, sums, begin, stop, setup):
  key = jax.random.fold_in(jax.random.key(seed), state.epoch)
  return search.validate(state, key, valid, sums, begin, stop, setup)


def _search(config, setup, state, train, valid, log, kept):
  """Compiles, then runs the host loop to the last epoch."""
  begun = time.monotonic()
  print('compiling ...', end=' ', flush=True)
  seed, n = np.uint32(config.seed), np.int32(0)
  zero = parallel.replicate(search.zero())
  programs = [
    compilation.Program(
      _advance, (state, seed, train, valid, n, setup), donated=(0,)
    ),
    compilation.Program(_validate, (state, seed, valid, zero, n, n, setup)),
  ]
  measuring = measure.program(config, setup, valid)
  if config.sharpness.every:
    programs.append(measuring(state, log.genotype(state)))
  # Outputs are pinned to where inputs lie, so that a state can go round.
  place = parallel.everywhere()
  go, look, *probe = compilation.build(*programs, place=place)
  print(f'{time.monotonic() - begun:.0f} s', flush=True)

  def finish(state, sums, each, seconds):
    rate = config.batch_size / each
    measured = {}
    if config.sharpness.every:
      measured = dict.fromkeys(sharpness.NAMES, '')
    if measure.due(config, int(state.epoch) + 1):
      operands = measuring(state, log.genotype(state)).operands
      found = probe[0](*operands)
      measured = {name: float(getattr(found, name)) for name in measured}
    line = ''
    if parallel.leads():
      line = log.epoch(state, sums, seconds, rate, measured)
    fresh = parallel.replicate((state.epoch + 1, search.zero()))
    state = state._replace(epoch=fresh[0], sums=fresh[1])
    checkpoints.save(kept, state)
    return state, line

  return loop.run(
    state,
    epochs=config.epochs,
    steps=split.batches(len(train.labels), config.batch_size),
    checks=split.batches(len(valid.labels), config.batch_size),
    advance=lambda s, stop: go(s, seed, train, valid, np.int32(stop), setup),
    validate=lambda s, sums, i, j: look(
      s, seed, valid, sums or zero, np.int32(i), np.int32(j), setup
    ),
    finish=finish,
    save=functools.partial(checkpoints.save, kept),
    # Only the leading host has the rows that a method looks at.
    over=lambda: bool(parallel.most(int(log.stopped is not None))[0]),
    pace=loop.Pace(config.steps_per_call),
  )


def _plan(config, setup, net, source, shapes, halves, workdir):
  """Prints and writes what a search would take, from shapes alone."""
  print(sizing.overview(shapes['params']))
  ring = jax.eval_shape(
    lambda: setup.distill.memory.init(halves[0], source.classes)
  )
  folder.plan(
    workdir,
    {
      'supernet_parameters': sizing.size(shapes['params']),
      'macs_per_image': sizing.macs(net, source.shape, mix_shapes(net.space)),
      'train_examples': halves[0],
      'valid_examples': halves[1],
      'steps_per_epoch': split.batches(halves[0], config.batch_size),
      'ring_bytes': sum(
        x.size * x.dtype.itemsize for x in jax.tree.leaves(ring)
      ),
      'image_bytes': sum(halves) * math.prod(source.shape),
    },
  )

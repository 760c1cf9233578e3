"""The evaluation task: from a genotype to a trained network and its error.

>>> from sdnas_jax.tasks import evaluate
>>> net, variables = evaluate.load(pathlib.Path('runs/darts_v2'))
>>> logits = net.apply(variables, images)
"""

import functools
import math
import pathlib
import time
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from sdnas_jax import compilation
from sdnas_jax import errors
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax.bilevel import optimizers
from sdnas_jax.data import augment
from sdnas_jax.data import dataset
from sdnas_jax.data import sources
from sdnas_jax.data import split
from sdnas_jax.data import stream
from sdnas_jax.kernels import choice
from sdnas_jax.networks import derived
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.report import figures
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import checkpoints
from sdnas_jax.runs import export
from sdnas_jax.runs import folder
from sdnas_jax.runs import locks
from sdnas_jax.runs import loop
from sdnas_jax.runs import metrics
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import evaluate
from sdnas_jax.steps import totals
from sdnas_jax.tasks import check
from sdnas_jax.tasks import feed
from sdnas_jax.tasks import memory
from sdnas_jax.tasks import report

Tree = Any


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool | str) -> None:
  """Trains a derived network; with `dry_run` only says how large it is.

  With 'memory' it compiles for that, else it knows the shapes alone.
  """
  compilation.keep()
  malloc.keep(jax.default_backend())
  check.evaluate(config)
  check.hosts(config)
  genotype = published.find(config.genotype)
  data = config.data
  source = sources.find(data.name, data.dir, data.size)
  sizes = check.parts(config, source)
  if isinstance(genotype, cells.Genotype):
    check.benchmark(config, source)
  else:
    check.depth(config, genotype)
  setup = assemble(config, genotype, source)
  if setup.net.depthwise == 'auto' and dry_run is not True:
    choice.prepare(setup.net.bf16)
  plan, shapes = _plan(config, setup, source, sizes)
  if dry_run:
    print(sizing.overview(shapes['params']))
    if dry_run == 'memory':
      plan |= _memory(config, setup, shapes, source, sizes)
    return folder.plan(workdir, plan)

  folder.enter(workdir, config)
  with locks.alone(workdir):
    _run(config, workdir, genotype, source, setup, sizes, plan, shapes)


def _run(config, workdir, genotype, source, setup, sizes, plan, shapes):
  """The training, in a folder of its own."""
  _compare(workdir, genotype)
  print(f'{jax.device_count()} x {jax.devices()[0].device_kind}', end='; ')
  print(f'{source.classes} classes, {sizes[0]} + {sizes[1]} examples')
  print(f'{plan["parameters"]:,} parameters, {plan["macs"]:,} multiply-adds')
  print(source.note, end='\n' if source.note else '')

  how = config.data.holdout, config.data.order
  data, record = feed.images(source, *sizes, *how)
  folder.claim(workdir, config, record)
  if parallel.leads():
    artifacts.write_json(workdir / 'genotype.json', genotype.fields)
  kept = checkpoints.Checkpoints(workdir / 'checkpoints')
  first = functools.partial(_first, setup, shapes, config.seed)
  state = kept.latest(jax.eval_shape(first))
  if state is None:
    state = parallel.replicate(first())
  done = int(state.epoch)
  log = metrics.Table(workdir, done)
  found = {'metrics.csv': log.checksum(done)}
  artifacts.compare(workdir, kept.record, found)
  if done < config.epochs:
    if int(state.step):
      print(f'resuming after {done} of {config.epochs} epochs', flush=True)
    pace = loop.Pace(config.steps_per_call)
    images = state, source, data, config.seed, setup
    state = _train(setup, images, sizes, log, kept, pace)
  else:
    print('all epochs are done: what is missing is made', flush=True)
  if parallel.leads():
    _conclude(config, workdir, genotype, plan, log)
    exported = export.stablehlo(setup.net, _variables(state), source)
    artifacts.write(workdir / 'network.stablehlo', exported)
    artifacts.seal(workdir)
    report.write(workdir)
    print(artifacts.listing(workdir))
  print(f'peak memory {malloc.peak():.2f} GB')


def assemble(
  config: ConfigDict,
  genotype: spaces.Genotype | cells.Genotype,
  source: dataset.Source,
) -> evaluate.Setup:
  """The parts that the config names."""
  w, data = config.weights, config.data
  model, net = config.model.to_dict(), nasbench201.Derived
  if isinstance(genotype, cells.Genotype):
    for name in ('imagenet', 'drop_nodes'):
      model.pop(name, None)
  else:
    model['auxiliary'], net = w.auxiliary > 0, derived.Derived
  return evaluate.Setup(
    net=net(genotype, source.classes, **model),
    schedule=optimizers.SCHEDULES[w.schedule],
    nesterov=w.nesterov,
    rates={name: w[name] for name in optimizers.WEIGHTS},
    augment=augment.Augment(
      data.pad, data.flip, data.cutout, data.jitter, data.hue
    ),
    mean=source.mean,
    std=source.std,
    batch_size=config.batch_size,
    epochs=config.epochs,
    auxiliary=w.auxiliary,
    smoothing=w.smoothing,
    drop_path=w.drop_path,
  )


def load(workdir: pathlib.Path) -> tuple[nn.Module, Tree]:
  """The network that a run trained, and its variables.

  It takes images as `sdnas_jax.data.augment.normalize` leaves them.

  Raises:
    BadInput: the folder holds no such run, or one without a checkpoint.
  """
  try:
    about = folder.about(workdir)
    config, source = ConfigDict(about['config']), about['data']
    if config.task != 'evaluate':
      raise ValueError(f'it is of the task {errors.short(config.task)}')
    check.evaluate(config)
    source = dataset.recalled(source)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise errors.BadInput(
      f'{workdir} holds no trained network ({error}): give the --workdir of an '
      'evaluation'
    ) from error
  genotype = published.find(str(workdir / 'genotype.json'))
  setup = assemble(config, genotype, source)
  shapes = sizing.shapes(setup.net, source.shape)
  kept = checkpoints.Checkpoints(workdir / 'checkpoints')
  like = jax.eval_shape(functools.partial(_first, setup, shapes, config.seed))
  state = kept.latest(like)
  if state is None:
    raise errors.BadInput(f'{workdir} holds no checkpoint yet: train on')
  return setup.net, _variables(state)


def _plan(config, setup, source, sizes):
  """What a training takes, and the shapes of the variables."""
  shapes = sizing.shapes(setup.net, source.shape)
  params = {k: v for k, v in shapes['params'].items() if k != 'auxiliary'}
  state = jax.eval_shape(functools.partial(_first, setup, shapes, config.seed))
  plan = {
    'parameters': sizing.size(params),
    'macs': sizing.macs(setup.net, source.shape),
    'train_examples': sizes[0],
    'test_examples': sizes[1],
    'steps_per_epoch': split.batches(sizes[0], config.batch_size),
    'weights_bytes': memory.size(_variables(state)),
    'optimiser_bytes': memory.size(state.opt),
  }
  if source.stream is None:
    plan['image_bytes'] = sum(sizes) * math.prod(source.shape)
  return plan, shapes


def _memory(config, setup, shapes, source, sizes):
  """What XLA plans for a training's programs."""
  state = parallel.replicate(_first(setup, shapes, config.seed))
  images = [split.like(n, source.shape) for n in sizes]
  programs = feed.programs(state, source, images, config.seed, setup)
  if source.stream is not None:
    images = feed.QUEUE * [stream.like(source, setup.batch_size)]
  return memory.planned(programs, (state, images))


def _compare(workdir, genotype):
  """Refuses a folder that trains another genotype, which a file may now be."""
  path = workdir / 'genotype.json'
  try:
    with artifacts.reading(path):
      known = artifacts.read_json(path)
      same = not known or published.read(known) == genotype
  except errors.BadInput:  # damaged: it is written again
    same = True
  if not same:
    raise errors.BadInput(
      f'{workdir} trains another genotype than --config.genotype now names: '
      'choose another --workdir'
    )


def _variables(state):
  return {'params': state.weights, 'batch_stats': state.stats}


def _first(setup, shapes, seed):
  return evaluate.init(setup, sizing.variables(shapes, seed))


def _train(setup, given, sizes, log, kept, pace):
  """Compiles, then runs the host loop to the last epoch."""
  begun = time.monotonic()
  print('compiling ...', end=' ', flush=True)
  images = feed.ready(*given)
  print(f'{time.monotonic() - begun:.0f} s', flush=True)

  def finish(state, sums, each, seconds):
    rate = setup.batch_size / each
    line = _note(log, setup.epochs, state, sums, seconds, rate)
    if line:
      artifacts.seal(log.path.parent)
    fresh = parallel.replicate((state.epoch + 1, totals.zero()))
    state = state._replace(epoch=fresh[0], sums=fresh[1])
    save(state, whole=True)
    return state, line

  def save(state, whole=False):
    record = {'metrics.csv': log.checksum(int(state.epoch))}
    kept.save(state, whole=whole, record=record)

  steps, checks = (split.batches(n, setup.batch_size) for n in sizes)
  return loop.run(
    given[0],
    epochs=setup.epochs,
    steps=steps,
    checks=checks,
    advance=images.advance,
    validate=images.validate,
    finish=finish,
    save=save,
    pace=pace,
  )


def _note(log, epochs, state, sums, seconds, rate):
  """Records an epoch; returns it in one line of at most 79 characters."""
  if not parallel.leads():
    return ''
  epoch = int(state.epoch)
  train, test = totals.averages(state.sums), totals.averages(sums)
  log.add(
    epoch,
    {
      'train_loss': train['loss'],
      'train_error': 1 - train['top1'],
      'test_loss': test['loss'],
      'test_error': 1 - test['top1'],
      'test_error_top5': 1 - test['top5'],
      'seconds': round(seconds, 3),
      'images_per_second': round(rate, 2),
    },
  )
  return (
    f'epoch {epoch + 1}/{epochs}: '
    f'train {train["loss"]:.3f}, error {1 - train["top1"]:.2%}; '
    f'test {test["loss"]:.3f}, error {1 - test["top1"]:.2%}; {rate:.0f} im/s'
  )


def _conclude(config, workdir, genotype, plan, log):
  """Writes the result and the curves, and prints them."""
  last = {name: float(value) for name, value in log.rows[-1].items()}
  result = {
    'test_error': last['test_error'],
    'test_error_top5': last['test_error_top5'],
    'parameters': plan['parameters'],
    'macs': plan['macs'],
    'epochs': config.epochs,
    'seconds': round(sum(log.column('seconds')), 1),
    'genotype': genotype.fields,
    'seed': config.seed,
  }
  artifacts.write_json(workdir / 'result.json', result)
  picture = figures.curves(log.rows, figures.TRAINING)
  artifacts.write(workdir / 'curves.png', picture)
  print(f'\ntest error {result["test_error"]:.2%}, ', end='')
  print(f'among the first five {result["test_error_top5"]:.2%}', end='; ')
  print(f'{result["seconds"]:.0f} s\n')

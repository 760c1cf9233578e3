"""The search task: from a config to a genotype, its picture and its record."""

import dataclasses
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
from sdnas_jax import errors
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax.analysis import truth
from sdnas_jax.bilevel import distill
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from sdnas_jax.data import augment
from sdnas_jax.data import dataset
from sdnas_jax.data import sources
from sdnas_jax.data import split
from sdnas_jax.kernels import choice
from sdnas_jax.methods import widening
from sdnas_jax.networks import columns
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.networks import supernet
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import checkpoints
from sdnas_jax.runs import folder
from sdnas_jax.runs import locks
from sdnas_jax.runs import loop
from sdnas_jax.runs import record
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import search
from sdnas_jax.steps import sharpness
from sdnas_jax.steps import totals
from sdnas_jax.tasks import between
from sdnas_jax.tasks import check
from sdnas_jax.tasks import measure
from sdnas_jax.tasks import memory
from sdnas_jax.tasks import rank
from sdnas_jax.tasks import report
from sdnas_jax.tasks import stages

Tree = Any
# By what is found: all spaces of normal and reduction cells have one.
SUPERNETS = {
  spaces.Genotype: supernet.Supernet,
  cells.Genotype: nasbench201.Supernet,
}


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool | str) -> None:
  """Searches, or with `dry_run` only says what a search would take.

  With 'memory' it compiles for that, else it knows the shapes alone.
  """
  compilation.keep()
  malloc.keep(jax.default_backend())
  plan = check.search(config)
  check.hosts(config)
  data = config.data
  source = sources.find(data.name, data.dir, data.size)
  for n, stage in enumerate(plan):
    with errors.within(f'stages[{n}]' if plan[1:] else ''):
      examples = check.sizes(stage.config, source)
  space = SPACES[config.space]
  halves = examples // 2, examples - examples // 2
  if config.data.shared:
    halves = examples, examples
  stages = [begin(stage, space, source, halves[0]) for stage in plan]
  if config.model.depthwise == 'auto' and dry_run is not True:
    choice.prepare(config.model.bf16)
  if dry_run:
    plan = _plan(stages[0], source, halves)
    if dry_run == 'memory':
      plan |= _memory(stages, source, halves)
    return folder.plan(workdir, plan)

  folder.enter(workdir, config)
  with locks.alone(workdir):
    _run(config, workdir, stages, source, halves)


def _run(config, workdir, stages, source, halves):
  """The search, in a folder of its own."""
  print(f'{jax.device_count()} x {jax.devices()[0].device_kind}', end='; ')
  print(f'{source.classes} classes, {halves[0]} + {halves[1]} examples')
  for note in (source.note, truth.note(config.space, config.data.name)):
    print(note, end='\n' if note else '')
  print(sizing.overview(sizing.parts(stages[0].shapes['params'])), flush=True)

  train, valid = _load(config, workdir, source, halves)
  reach = max(stage.setup.method.reach for stage in stages)
  kept = checkpoints.Checkpoints(workdir / 'checkpoints', reach)
  stage, state, log = _resume(stages, kept, workdir, config.data.name)
  while True:
    state = _search(stage, state, train, valid, log, kept)
    following = stages[stage.number + 1 :]
    if log.stopped is not None or not following:
      break
    stage = following[0]
    state = stage.enter(state)
  view = measure.view(stage.setup, state, valid, stage.seed, stage.probe)
  measure.portrait(
    *(view, workdir),
    points=config.sharpness.landscape,
    spectrum=config.sharpness.spectrum,
  )
  if 'rank' in config:
    rank.add(view, workdir, config.data.name, **config.rank)
  if parallel.leads():
    log.conclude(parameters=sizing.size(stage.shapes['params']))
    report.write(workdir)
    print(log.conclusion())
  print(f'peak memory {malloc.peak():.2f} GB')


def _load(config, workdir, source, halves):
  """Both halves, on every device; the folder is theirs."""
  examples = halves[0] if config.data.shared else sum(halves)
  images, labels = dataset.load(source, examples, 'train', config.data.order)
  folder.claim(workdir, config, dataset.told(source, (images, labels)))
  found = []
  for part, own in (
    ('training', slice(halves[0])),
    ('validation', slice(examples - halves[1], None)),
  ):
    if told := split.lacking(part, labels[own], source.classes):
      print(told)
    found.append(parallel.replicate(split.Split(images[own], labels[own])))
  return found


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage of a search, ready to begin."""

  number: int
  carry: str
  goes_on: bool
  setup: search.Setup
  shapes: Tree  # of the network's variables
  rates: dict[str, float]
  examples: int  # of the training half
  seed: int
  scale: float  # of the first alphas
  epochs: int
  every: int  # epochs from one measurement to the next
  probe: sharpness.Probe
  pace: int

  def first(self) -> search.State:
    """The state before the first step, a function of the seed alone."""
    net = self.setup.net
    rng = np.random.default_rng((self.seed, 1))
    return search.init(
      self.setup,
      sizing.variables(self.shapes, self.seed),
      self.setup.method.init(rng, net, self.scale),
      self.rates,
      self.examples,
      net.classes,
    )

  def enter(self, before: search.State) -> search.State:
    """The first state of a later stage, from the last of the one before."""
    first = parallel.replicate(self.first())
    shapes = functools.partial(jax.tree.map, np.shape)
    for name in ('own', 'gradient', 'memory'):  # of another method or teacher?
      old, new = getattr(before, name), getattr(first, name)
      if shapes(old) != shapes(new):
        before = before._replace(**{name: new})
    if self.carry == 'fresh':
      return first._replace(mask=before.mask, own=before.own)
    state = before._replace(step=first.step, epoch=first.epoch, sums=first.sums)
    if self.carry == 'kept':
      old, new = before.opt.inner_states, first.opt.inner_states
      opt = first.opt._replace(inner_states={**new, 'alphas': old['alphas']})
      state = state._replace(opt=opt, rates=first.rates)
    if self.carry == 'widened':
      state = parallel.replicate(widening.widened(state, first, self.seed))
    return state


def begin(
  stage: stages.Stage, space: spaces.Space, source: dataset.Source, half: int
) -> Stage:
  """The parts that a stage's config names, for so many training examples."""
  config, method = stage.config, stage.method
  w, a, data = config.weights, config.alphas, config.data
  model = config.model.to_dict() | dict(method.model)
  net = SUPERNETS[space.genotype](space, source.classes, **model)
  rho = {'rho': w.rho} if w.rule == 'sam' else {}
  setup = search.Setup(
    net=net,
    method=method,
    rule=jax.tree_util.Partial(rules.WEIGHTS[w.rule], **rho),
    alpha_rule=rules.ALPHAS[a.rule],
    schedule=optimizers.SCHEDULES[w.schedule],
    nesterov=w.nesterov,
    distill=distill.make(**config.distill),
    augment=augment.Augment(data.pad, data.flip, data.cutout),
    mean=source.mean,
    std=source.std,
    batch_size=config.batch_size,
    steps=split.batches(half, config.batch_size),
    before=stage.before,
    epochs=stage.total,
    alpha_warmup=a.warmup,
    alpha_optimizer=optimizers.OPTIMIZERS[a.optimizer or 'adam'],
  )
  rates = {f'weights.{name}': w[name] for name in optimizers.WEIGHTS}
  rates |= {f'alphas.{name}': a[name] for name in optimizers.ALPHAS}
  return Stage(
    number=stage.number,
    carry=stage.carry,
    goes_on=stage.goes_on,
    setup=setup,
    shapes=sizing.shapes(net, source.shape, mix_shapes(net)),
    rates=rates,
    examples=half,
    seed=config.seed,
    scale=a.scale,
    epochs=config.epochs,
    every=config.sharpness.every,
    probe=measure.probe(config.sharpness, a.decay),
    pace=config.steps_per_call,
  )


def mix_shapes(net: Any) -> dict[str, jax.ShapeDtypeStruct]:
  """Of a supernet's mixing weights."""
  return {
    kind: jax.ShapeDtypeStruct((*shape[:-1], columns.count(net)), jnp.float32)
    for kind, shape in net.tables.items()
  }


def _resume(stages, kept, workdir, data):
  """The stage and the state to go on from, and the record of what was done."""
  if kept.place is None and (workdir / 'metrics.csv').exists():
    print('no checkpoint is left: the search begins anew', flush=True)
  place = kept.place or checkpoints.Place(0, 0, False, 0)
  stage = stages[place.stage]
  log = record.Record(
    workdir,
    stage.setup.net.space,
    [stage.epochs for stage in stages],
    done=sum(s.epochs for s in stages[: place.stage]) + place.epoch,
    revisions=place.revisions,
    data=data,
  )
  artifacts.compare(workdir, kept.record, log.checksums(len(log.found)))
  state = kept.latest(jax.eval_shape(stage.first))
  if state is None:
    state = parallel.replicate(stage.first())
  elif log.found and log.stopped is None and len(log.found) < sum(log.stages):
    done = f'{len(log.found)} of {sum(log.stages)} epochs'
    print(f'resuming after {done}', flush=True)
  elif log.found:
    print('all epochs are done: what is missing is made', flush=True)
  return stage, state, log


def genotype(stage: Stage, state: search.State) -> spaces.Genotype:
  """What the alphas stand for now."""
  # From the host's copies, since other hosts do not compute this.
  arch, now = jax.device_get((state.arch, search.clock(state, stage.setup)))
  mix = jax.device_get(stage.setup.method.relax(arch, now))
  return stage.setup.method.discretize(stage.setup.net.space, arch, mix)


def _programs(stage, state, train, valid):
  """What a stage steps, validates and, if it does so, measures by."""
  setup, key, n = stage.setup, parallel.key(stage.seed), np.int32(0)
  zero = parallel.replicate(totals.zero())
  step = state, key, train, valid, n, setup
  programs = [
    compilation.Program(search.advance, step, donated=(0,)),
    compilation.Program(search.validate, (state, valid, zero, n, n, setup)),
  ]
  if stage.every:
    given = _measuring(stage, state, valid, genotype(stage, state))
    programs.append(compilation.Program(sharpness.measure, given))
  return programs


def _measuring(stage, state, valid, found):
  """The operands of a measurement."""
  view = measure.view(stage.setup, state, valid, stage.seed, stage.probe)
  return view, measure.hard(view, found)


def _search(stage, state, train, valid, log, kept):
  """Compiles, then runs the host loop to the stage's last epoch."""
  if int(state.epoch) == stage.epochs or log.stopped is not None:
    return state
  begun = time.monotonic()
  print('compiling ...', end=' ', flush=True)
  setup, key = stage.setup, parallel.key(stage.seed)
  zero = parallel.replicate(totals.zero())
  programs = _programs(stage, state, train, valid)
  # Outputs are pinned to where inputs lie, so that a state can go round.
  go, look, *probe = compilation.build(*programs, place=parallel.everywhere())
  print(f'{time.monotonic() - begun:.0f} s', flush=True)

  def save(state, whole=False):
    made, done = len(log.revisions), log.begun(stage.number) + int(state.epoch)
    place = {'whole': whole, 'stage': stage.number, 'revisions': made}
    kept.save(state, **place, record=log.checksums(done))

  def finish(state, sums, each, seconds):
    found, measured = genotype(stage, state), {}
    if stage.every:
      measured = dict.fromkeys(sharpness.NAMES, '')
    if measure.due(stage.every, int(state.epoch) + 1, stage.epochs):
      seen = probe[0](*_measuring(stage, state, valid, found))
      measured = {name: float(getattr(seen, name)) for name in measured}
    rate = setup.batch_size / each
    line = log.epoch(stage.number, state, sums, found, seconds, rate, measured)
    fresh = parallel.replicate((state.epoch + 1, totals.zero()))
    state = state._replace(epoch=fresh[0], sums=fresh[1])
    return between.revise(stage, state, valid, log, kept, save), line

  entered = kept.place is None or kept.place.stage < stage.number
  if entered and not stage.goes_on:
    state = between.revise(stage, state, valid, log, kept, save)
  return loop.run(
    state,
    epochs=stage.epochs,
    steps=setup.steps,
    checks=split.batches(len(valid.labels), setup.batch_size),
    advance=lambda s, stop: go(s, key, train, valid, np.int32(stop), setup),
    validate=lambda s, sums, i, j: look(
      s, valid, sums or zero, np.int32(i), np.int32(j), setup
    ),
    finish=finish,
    save=save,
    over=lambda: log.stopped is not None,
    pace=loop.Pace(stage.pace),
  )


def _plan(stage, source, halves):
  """What a stage takes, from shapes alone; prints the arrays."""
  setup, params = stage.setup, stage.shapes['params']
  print(sizing.overview(params))
  mix = mix_shapes(setup.net)
  state = jax.eval_shape(stage.first)
  return {
    'supernet_parameters': sizing.size(params),
    'macs_per_image': sizing.macs(setup.net, source.shape, mix),
    'train_examples': halves[0],
    'valid_examples': halves[1],
    'steps_per_epoch': setup.steps,
    'weights_bytes': memory.size((state.params, state.stats)),
    'optimiser_bytes': memory.size((state.opt, state.gradient)),
    'ring_bytes': memory.size(state.memory),
    'image_bytes': sum(halves) * math.prod(source.shape),
  }


def _memory(stages, source, halves):
  """What XLA plans for the stage that takes most, and whether it fits."""
  images = [split.like(n, source.shape) for n in halves]
  plans = []
  for stage in stages:
    state = parallel.replicate(stage.first())
    programs = _programs(stage, state, *images)
    plans.append(memory.planned(programs, (state, images)))
  return max(plans, key=lambda plan: plan['device_bytes'])

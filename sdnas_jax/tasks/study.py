"""A study: what changes of a search, or of a training, are worth.

Each of its variants is searched with every seed, what was found is trained if
there is a recipe for it, and so may be published and random cells. All of these
are runs in folders of their own, which processes started on one folder share;
what is there already is not run again. One table tells what they came to.

  config.search: of the search, as alone
  config.evaluate: of the training of what was found, or none
  config.variants: from a name to what it changes: {'search': {'epochs': 25}}
  config.seeds: of every variant, from 0 on

and, if anything is trained,

  config.repeats: trainings of each cell but the random ones
  config.baselines: published cells, by commas
  config.randoms: random cells, each trained once
  config.select: what a training changes to serve for choosing the best variant
    of each seed, such as {'data': {'holdout': 5000}}; only that one's cell is
    then trained by the recipe itself
  config.evolve: from a name to {'population': 20, 'sample': 5, 'children': 40},
    as sdnas_jax/tasks/evolve.py has them: of so many cells, each trained with
    what `select` changes, the best is then trained by the recipe itself
  config.field: of the search, to compare the trained networks by
"""

import functools
import pathlib

from ml_collections import ConfigDict

from sdnas_jax import compilation
from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.analysis import truth
from sdnas_jax.data import sources
from sdnas_jax.report import table
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder
from sdnas_jax.runs import locks
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import published
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import check
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import evolve as evolution
from sdnas_jax.tasks import fields
from sdnas_jax.tasks import report
from sdnas_jax.tasks import results
from sdnas_jax.tasks import search

FIELDS = {
  'task': (str, None),
  'seeds': (int, fields.SOME),
  'repeats': (int, fields.SOME),
  'baselines': (str, None),
  'randoms': (int, range(1001)),
  'field': (str, None),
}
USUAL = {'repeats': 1, 'baselines': '', 'randoms': 0, 'field': ''}
SECTIONS = 'search', 'variants', 'evaluate', 'select', 'evolve'
MOST = 10_000  # trainings, and searches


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool | str) -> None:
  """Runs what is not done, and compares; or gives the sizes of the parts."""
  compilation.keep()
  runs = plan(config, workdir)
  check.hosts(config)
  if dry_run:
    return _sizes(runs, dry_run)

  folder.enter(workdir, config)
  folder.claim(workdir, config)
  by = {one.path: one for one in runs}
  for path in locks.each(by):
    _do(by[path])
    if parallel.leads():
      with locks.held(workdir / 'tables'):
        results.write(workdir, runs, config.get('field', ''))
        report.write(workdir)
  if parallel.leads():
    _tell(workdir, runs)


def plan(config: ConfigDict, workdir: pathlib.Path) -> list[results.Run]:
  """The runs of a study, in their order.

  Raises:
    BadInput: names the first field that is unknown, missing or out of range, or
      does not fit the data and the devices.
  """
  given = USUAL | config.to_dict()
  parts = {name: given.pop(name, None) for name in SECTIONS}
  for name, part in parts.items():
    if not isinstance(part, dict | None):
      raise errors.BadInput(
        f'{name} must be a section of fields, not {errors.short(part)}'
      )
  fields.every(given, FIELDS)
  evolve = parts.pop('evolve') or {}
  variants = _variants(**parts, field=given['field'])
  bred = _bred(evolve, parts['evaluate'], parts['select'])
  count = given['seeds'] * len(variants) * given['repeats']
  if count > MOST:
    raise errors.BadInput(
      f'{given["seeds"]} seeds of {len(variants)} variants, each trained '
      f'{given["repeats"]} times, are {count} runs: lower them to {MOST}'
    )
  every = [own['population'] + own['children'] for own in evolve.values()]
  if (count := given['seeds'] * sum(every)) > MOST:
    raise errors.BadInput(
      f'evolve has {count} candidates, of all seeds: lower them to {MOST}'
    )
  made = functools.partial(_run, workdir, repeats=given['repeats'])
  runs, recipe = [], parts['evaluate']
  for seed in range(given['seeds']):
    searched = [
      made(name, seed, own.get('evaluate'), search=_seeded(own, seed))
      for name, own in variants.items()
    ]
    if parts['select']:
      searched = [one._replace(error='validation_error') for one in searched]
      searched += [made('selected', seed, recipe, among=tuple(searched))]
    runs += searched
    for name, own in evolve.items():
      space = SPACES[searched[0].search.space]
      runs += _evolved(made, name, seed, space, bred, recipe, **own)
  for name in filter(None, given['baselines'].split(',')):
    runs.append(made(name, 0, recipe, name, cell=published.find(name)))
  for seed in range(given['randoms']):
    cell = evolution.random(SPACES[runs[0].search.space], seed)
    runs.append(made('random', seed, recipe, repeats=1, cell=cell))
  _check([one for one in runs if not one.seed], workdir)
  return runs


def _variants(search, variants, evaluate, select, field):
  """From a variant's name to its sections, in the order of a field's values."""
  if not (search and variants):
    raise errors.BadInput(
      'a study needs a search section, and variants: from a name to what it '
      "changes, such as {'DARTS': {'search': {'distill': {'weight': 0.0}}}}"
    )
  base = {'search': search} | ({'evaluate': evaluate} if evaluate else {})
  if select:
    base = _changed(base, 'select', {'evaluate': select})
  made = {k: _changed(base, f'variants.{k}', v) for k, v in variants.items()}
  for name, own in made.items():
    with errors.within(f'variants.{name}'):
      check.search(ConfigDict(own['search']))
  if not field:
    return made
  values = {k: artifacts.flat(own['search']) for k, own in made.items()}
  for known in values.values():
    errors.pick('field', field, known.keys() - {'seed', 'task', 'stages'})
  return {k: made[k] for k in sorted(made, key=lambda k: values[k][field])}


def _changed(base, what, changes):
  """A copy of some sections, with some changes."""
  own = ConfigDict(base)
  try:
    for name in changes:
      errors.pick(f'section in {what}', name, own)
    own.update(changes)
  except (TypeError, AttributeError) as error:
    raise errors.BadInput(
      f'{what} changes a field to another type ({errors.cut(str(error), 200)})'
    ) from error
  return own.to_dict()


def _seeded(own, seed):
  """A variant's search with a seed; only the first is portrayed."""
  search = ConfigDict({**own['search'], 'seed': seed})
  if seed:
    search.sharpness.update(landscape=0, spectrum=False)
  return search


def _run(workdir, name, seed, recipe, genotype='', *, repeats, **own):
  """A run that trains a genotype, or what it finds, if there is a recipe."""
  if not recipe and 'search' not in own:
    raise errors.BadInput(
      f'{name} is to be trained, but nothing says how: add an evaluate section'
    )
  path = workdir / f'{name}-{seed}'
  how = {**(recipe or {}), 'genotype': genotype or f'{path}/genotype.json'}
  seeds = range(seed * repeats, (seed + 1) * repeats) if recipe else ()
  trainings = tuple(ConfigDict({**how, 'seed': n}) for n in seeds)
  return results.Run(path, name, seed, trainings, **own)


def _bred(evolve, recipe, select):
  """The recipe of candidates."""
  for name, own in evolve.items():
    with errors.within(f'evolve.{name}'):
      if not isinstance(own, dict):
        raise errors.BadInput(f'it must be a dict, not {errors.short(own)}')
      fields.every(own, evolution.FIELDS)
  if not evolve:
    return None
  if not (recipe and select):
    raise errors.BadInput(
      'evolve trains what it finds, and chooses by held-out images: add the '
      "sections evaluate and select, such as {'data': {'holdout': 5000}}"
    )
  return _changed({'evaluate': recipe}, 'select', {'evaluate': select})[
    'evaluate'
  ]


def _evolved(
  made, name, seed, space, bred, recipe, population, sample, children
):
  """The candidates of an evolution, and the training of the best."""
  found = []
  for n in range(population + children):
    own = {'cell': evolution.random(space, (seed, n))}
    if n >= population:
      choose = functools.partial(
        evolution.child, space=space, sample=sample, seed=(seed, n)
      )
      own = {'among': tuple(found[-population:]), 'choose': choose}
    one = made(f'{name}_candidates{seed}', n, bred, repeats=1, **own)
    found.append(one._replace(error='validation_error'))
  return [*found, made(name, seed, recipe, among=tuple(found))]


def _check(runs, workdir):
  """Checks one run of each name as it is alone, and all beside one another."""
  searches = [one.search for one in runs if one.search]
  looked = {(own.space, own.data.name) for own in searches}
  if len(looked) > 1 and any(truth.note(*where) for where in looked):
    raise errors.BadInput(
      'the variants search different spaces or other data, whose true '
      'accuracies do not compare: set space and data.name in search, for all'
    )
  paths = [one.path for one in runs]
  for one in runs:
    if one.path.parent != workdir or paths.count(one.path) > 1:
      raise errors.BadInput(
        f'{one.name!r} is to name the folder of one run: choose names without '
        'slashes, each another'
      )
    if one.search:
      data = one.search.data
      source = sources.find(data.name, data.dir, data.size)
      check.sizes(one.search, source)
    for own in one.trainings[:1]:
      with errors.within('evaluate'):
        check.evaluate(own)
      data = own.data
      source = sources.find(data.name, data.dir, data.size)
      check.parts(own, source)
      space = (one.cell or one.search or searches[0]).space
      if space == nasbench201.SPACE.name:
        check.benchmark(own, source)


def _sizes(runs, dry_run):
  """What the first search takes, and the training of each published cell."""
  search.run(runs[0].search, runs[0].path, dry_run)
  for one in runs:
    if one.cell and one.name != 'random':
      evaluate.run(one.trainings[0], one.trained[0], dry_run)


def _do(one):
  """Searches and trains, unless all of that is done."""
  if one.trainings and parallel.most(int(one.done))[0]:
    return
  if one.search:
    search.run(one.search, one.path, False)
  elif not _given(one):
    print('the runs to select from are not done')
    return
  for training, path in zip(one.trainings, one.trained, strict=True):
    print(f'\n{one.path.name}, {path.name}\n', flush=True)
    try:
      evaluate.run(training, path, False)
    except errors.BadInput as error:
      if not one.search:
        raise
      # Some methods may find nothing; that is no reason to ask no other.
      return print(f'{one.path.name} is not trained: {error}', flush=True)


def _given(one):
  """Writes the cell of a run that searches none, if it is known by now."""
  ready = all(other.done for other in one.among)
  if not parallel.most(int(ready))[0]:
    return False
  if parallel.leads():
    artifacts.folder(one.path)
    found = one.cell and one.cell.fields
    if one.choose:
      found = one.choose(one.among).fields
    elif one.among:
      best = results.best(one.among)
      print(f'{best.path.name} has the lowest error in validation')
      found = best.genotype.fields
    artifacts.write_json(one.path / 'genotype.json', found)
  return True


def _tell(workdir, runs):
  """What the runs have come to so far."""
  done = sum(one.done for one in runs)
  print(f'\n{done} of {len(runs)} runs are done\n')
  rows = artifacts.read_rows(workdir / 'study.csv')
  if not rows:
    return
  print(f'{table.text(results.summary(rows))}\n')
  searched = runs[0].search
  if note := truth.note(searched.space, searched.data.name):
    print(f'in truth.csv:\n{note}\n')
  print(artifacts.listing(workdir))

"""The comparison: is the cell that a search finds better than random ones?

A search, then trainings of the found network, of a published one and of random
ones, all by the same recipe. Each is a run in a folder of its own, and what is
there already is not run again.
"""

import json
import pathlib

import jax
from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import compilation
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax.report import strip
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import check
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import report
from sdnas_jax.tasks import search


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool) -> None:
  """Searches, trains and compares; `dry_run` gives the sizes of both parts."""
  compilation.keep()
  malloc.keep()
  check.compare(config)
  check.hosts(config)
  check.fit(config.search, check.sizes, jax.device_count())
  check.fit(config.evaluate, check.parts, jax.device_count())
  if dry_run:
    search.run(config.search, workdir / 'search', True)
    own = _own(config, config.baseline, seed=0)
    return evaluate.run(own, workdir / config.baseline, True)

  folder.enter(workdir, config)
  folder.claim(workdir, config)
  print('\nsearch\n')
  search.run(config.search, workdir / 'search', False)
  rows = [
    {'network': name, 'seed': seed, **_train(config, workdir, *path, seed)}
    for name, seed, *path in _runs(config, workdir)
  ]
  if parallel.leads():
    artifacts.write_rows(workdir / 'comparison.csv', rows)
    artifacts.write(workdir / 'comparison.png', strip.draw(rows))
    report.write(workdir)
    print(f'\n{table(rows)}\n\n{artifacts.listing(workdir)}')


def _own(config, genotype, seed):
  """The config of one training."""
  own = ConfigDict(config.evaluate.to_dict())
  own.genotype, own.seed = genotype, seed
  return own


def _runs(config, workdir):
  """Each training's name, seed, genotype and folder."""
  found = workdir / 'search' / 'genotype.json'
  named = {'found': found, config.baseline: config.baseline}
  for name, genotype in named.items():
    for seed in range(config.repeats):
      yield name, seed, str(genotype), workdir / f'{name}-{seed}'
  for n in range(config.randoms):
    path = workdir / f'random-{n}.json'
    if parallel.leads():
      genotype = random(SPACES[config.search.space], n)
      artifacts.write_json(path, genotype.fields)
    yield 'random', n, str(path), workdir / f'random-{n}'


def _train(config, workdir, genotype, path, seed):
  """Trains a network unless it is; returns what is compared."""
  print(f'\n{path.name}\n')
  evaluate.run(_own(config, genotype, seed), path, False)
  parallel.most(0)  # the leading host has now written the result
  result = json.loads((path / 'result.json').read_text())
  kept = 'test_error', 'parameters', 'macs', 'seconds'
  return {name: result[name] for name in kept}


def random(space: spaces.Space, seed: int) -> spaces.Genotype:
  """A genotype whose edges and operations are uniform."""
  rng = np.random.default_rng(seed)
  mix = {kind: rng.random(space.shape) for kind in space.kinds}
  return spaces.strongest(space, mix)


def table(rows: list[dict]) -> str:
  """Mean and standard deviation of each network's test error, as text."""
  lines = ['network         runs   test error, %   parameters']
  for name in dict.fromkeys(row['network'] for row in rows):
    own = [row for row in rows if row['network'] == name]
    error = [100 * row['test_error'] for row in own]
    spread = f' +- {np.std(error, ddof=1):.2f}' if len(own) > 1 else ''
    size = np.mean([row['parameters'] for row in own])
    mean = f'{np.mean(error):.2f}{spread}'
    lines.append(f'{name:<16}{len(own):>4}{mean:>16}{size:>13,.0f}')
  return '\n'.join(lines)

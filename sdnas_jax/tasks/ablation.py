"""What one field of the search is worth: the paper's Figures 5 and 6.

For each of its values and each seed, a search, and a training of what it found.
Each is a run in a folder of its own; what is there already is not run again,
and processes started on one folder share them.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
import json
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import compilation
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax.report import trend
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder
from sdnas_jax.runs import locks
from sdnas_jax.tasks import check
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import report
from sdnas_jax.tasks import search


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool) -> None:
  """Runs all values with all seeds, and compares; or gives the sizes."""
  compilation.keep()
  malloc.keep()
  check.ablation(config)
  check.hosts(config)
  for value in config.levels:
    own = check.setting(config, value, 0)
    check.fit(own, check.sizes, jax.device_count())
  check.fit(config.evaluate, check.parts, jax.device_count())
  if dry_run:
    return search.run(config.search, workdir / 'search', True)

  folder.enter(workdir, config)
  folder.claim(workdir, config)
  go, write = partial(_run, config), partial(_write, config, workdir)
  levels, seeds = config.levels, config.seeds
  count = locks.share(workdir, levels, seeds, go, write, part='evaluate')
  if parallel.leads():
    rows = artifacts.read_rows(workdir / 'ablation.csv')
    print(f'\n{len(rows)} of {count} runs are done\n')
    if rows:
      print(f'{table(config.field, rows)}\n\n{artifacts.listing(workdir)}')


def _run(config, own, value, seed):
  """Searches with a value, and trains what is found, unless that was done."""
  if parallel.most(int(locks.done(own / 'evaluate')))[0]:
    return
  search.run(check.setting(config, value, seed), own / 'search', False)
  parallel.most(0)
  training = ConfigDict(config.evaluate.to_dict())
  training.genotype = str(own / 'search' / 'genotype.json')
  training.seed = seed
  evaluate.run(training, own / 'evaluate', False)


def read(path: pathlib.Path, value: Any, seed: int) -> dict[str, Any]:
  """What one search and training came to."""
  searched, trained = (
    json.loads((path / part / 'result.json').read_text())
    for part in ('search', 'evaluate')
  )
  return {
    'value': value,
    'seed': seed,
    'accuracy': 1 - trained['test_error'],
    'supernet_accuracy': searched['valid_accuracy'],
    'parameters': trained['parameters'],
  }


def _write(config, workdir, runs):
  """The table and the figure of the runs that are done."""
  rows = [read(path, *run) for path, run in runs.items()]
  artifacts.write_rows(workdir / 'ablation.csv', rows)
  artifacts.write(workdir / 'ablation.png', trend.draw(rows, config.field))
  report.write(workdir)


def table(field: str, rows: Sequence[Mapping[str, str]]) -> str:
  """Mean and deviation of each value's accuracies, as text."""
  lines = [f'{field:<20}runs{"accuracy, %":>20}{"supernet, %":>20}']
  for value in dict.fromkeys(row['value'] for row in rows):
    own = [row for row in rows if row['value'] == value]
    line = f'{value:<20}{len(own):>4}'
    for name in ('accuracy', 'supernet_accuracy'):
      shares = [100 * float(row[name]) for row in own]
      more = f' +- {np.std(shares, ddof=1):.2f}' if len(shares) > 1 else ''
      line += f'{f"{np.mean(shares):.2f}{more}":>20}'
    lines.append(line)
  return '\n'.join(lines)

"""The paper's claim: does a method flatten the supernet's loss, by how much?

Each method searches with the same seeds, and measures its sharpness as it goes
(`sdnas_jax/sharpness.py`). Each search is a run in a folder of its own; what is
there already is not run again.
"""

import csv
import pathlib

import jax
from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import artifacts
from sdnas_jax import compilation
from sdnas_jax import memory
from sdnas_jax import parallel
from sdnas_jax import sharpness
from sdnas_jax.data import sources
from sdnas_jax.report import spread
from sdnas_jax.tasks import check
from sdnas_jax.tasks import folder
from sdnas_jax.tasks import search


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool) -> None:
  """Searches with every method and seed, and compares; or gives the sizes."""
  compilation.keep()
  memory.keep()
  check.sharpness(config)
  check.hosts(config)
  data = config.search.data
  source = sources.find(data.name, data.dir)
  check.sizes(config.search, source, jax.device_count())
  if dry_run:
    return search.run(config.search, workdir / 'search', True)

  folder.enter(workdir, config)
  folder.claim(workdir, config)
  rows = []
  for seed in range(config.seeds):
    for method in config.methods:
      own = workdir / f'{method}-{seed}'
      print(f'\n{own.name}\n', flush=True)
      search.run(check.variant(config, method, seed), own, False)
      rows += read(own, method, seed)
      if parallel.leads():
        _write(config, workdir, rows)
  print(f'\n{table(rows)}\n\n{artifacts.listing(workdir)}')


def read(path: pathlib.Path, method: str, seed: int) -> list[dict]:
  """What a run measured: a row for each epoch that was looked at."""
  parallel.most(0)  # the leading host has now written its table
  with (path / 'metrics.csv').open(newline='') as file:
    rows = [row for row in csv.DictReader(file) if row[sharpness.NAMES[0]]]
  return [
    {
      'method': method,
      'seed': seed,
      'epoch': int(row['epoch']),
      **{name: float(row[name]) for name in sharpness.NAMES},
    }
    for row in rows
  ]


def _write(config, workdir, rows):
  """The table and the figure, as far as they are known."""
  artifacts.write_rows(workdir / 'eigenvalues.csv', rows)
  terms = (check.variant(config, name, 0).distill for name in config.methods)
  begin = min((t.warmup + 1 for t in terms if t.weight), default=None)
  marks = {'distillation begins': begin} if begin else {}
  picture = spread.draw(rows, sharpness.NAMES, marks)
  artifacts.write(workdir / 'eigenvalues.png', picture)


def table(rows: list[dict]) -> str:
  """Mean and deviation of each method's last measures, as text."""
  titles = 'eigenvalue', 'sharpness', 'gap'
  lines = [f'{"method":<14}seeds' + ''.join(f'{name:>19}' for name in titles)]
  last = max(row['epoch'] for row in rows)
  for method in dict.fromkeys(row['method'] for row in rows):
    own = [r for r in rows if r['method'] == method and r['epoch'] == last]
    cells = []
    for name in sharpness.NAMES:
      values = [row[name] for row in own]
      more = f' +- {np.std(values, ddof=1):.4f}' if len(values) > 1 else ''
      cells.append(f'{np.mean(values):.4f}{more}')
    line = ''.join(f'{cell:>19}' for cell in cells)
    lines.append(f'{method:<14}{len(own):>5}{line}')
  return '\n'.join(lines)

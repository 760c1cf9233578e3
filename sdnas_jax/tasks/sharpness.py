"""The paper's claim: does a method flatten the supernet's loss, by how much?

Each method searches with the same seeds, and measures its sharpness as it goes
(`sdnas_jax/sharpness.py`); where a table knows what cells reach when trained,
that is compared too (`standings`). Each search is a run in a folder of its own;
what is there already is not run again.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
import pathlib

import jax
from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import compilation
from sdnas_jax import malloc
from sdnas_jax import parallel
from sdnas_jax import sharpness
from sdnas_jax.analysis import truth
from sdnas_jax.report import spectrum
from sdnas_jax.report import spread
from sdnas_jax.report import surface
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder
from sdnas_jax.runs import locks
from sdnas_jax.tasks import check
from sdnas_jax.tasks import report
from sdnas_jax.tasks import search
from sdnas_jax.tasks import standings

MEASURES = *sharpness.NAMES, 'loss_drop'


def run(config: ConfigDict, workdir: pathlib.Path, dry_run: bool) -> None:
  """Searches with every method and seed, and compares; or gives the sizes."""
  compilation.keep()
  malloc.keep()
  check.sharpness(config)
  check.hosts(config)
  for method in config.methods:
    own = check.variant(config, method, 0)
    check.fit(own, check.sizes, jax.device_count())
  if dry_run:
    return search.run(config.search, workdir / 'search', True)

  folder.enter(workdir, config)
  folder.claim(workdir, config)
  go, write = partial(_run, config), partial(_write, config, workdir)
  count = locks.share(workdir, config.methods, config.seeds, go, write)
  if parallel.leads():
    _tell(config, workdir, count)


def _tell(config, workdir, count):
  """What the runs have come to so far."""
  rows = artifacts.read_rows(workdir / 'eigenvalues.csv')
  done = len({(row['method'], row['seed']) for row in rows})
  print(f'\n{done} of {count} runs are done\n')
  if not rows:
    return
  print(f'{table(rows)}\n')
  if note := truth.note(config.search.space, config.search.data.name):
    found = artifacts.read_rows(workdir / 'table.csv')
    print(f'{standings.text(found)}\n\nin truth.csv:\n{note}\n')
  print(artifacts.listing(workdir))


def _run(config, own, method, seed):
  search.run(check.variant(config, method, seed), own, False)


def read(path: pathlib.Path, method: str, seed: int) -> list[dict]:
  """What a run measured: a row for each epoch that was looked at."""
  rows = artifacts.read_rows(path / 'metrics.csv')
  return [
    {
      'method': method,
      'seed': seed,
      'epoch': int(row['epoch']),
      **{name: float(row.get(name) or 'nan') for name in MEASURES},
    }
    for row in rows
    if row[MEASURES[0]]
  ]


def _write(config, workdir, runs):
  """The tables and the figures of the runs that are done."""
  rows = [row for path, run in runs.items() for row in read(path, *run)]
  artifacts.write_rows(workdir / 'eigenvalues.csv', rows)
  terms = (check.variant(config, name, 0).distill for name in config.methods)
  begin = min((t.warmup + 1 for t in terms if t.weight), default=None)
  marks = {'distillation begins': begin} if begin else {}
  picture = spread.draw(rows, MEASURES, marks)
  artifacts.write(workdir / 'eigenvalues.png', picture)
  space, data = config.search.space, config.search.data.name
  if truth.note(space, data):
    standings.write(workdir, runs, data, marks)
  for file, draw, load in (
    ('landscape.npz', surface.draw, artifacts.read_arrays),
    ('spectrum.csv', spectrum.draw, artifacts.read_rows),
  ):
    whole = {r[0]: p / file for p, r in runs.items() if (p / file).exists()}
    if whole:
      picture = draw({method: load(path) for method, path in whole.items()})
      artifacts.write(workdir / f'{file.split(".")[0]}.png', picture)
  report.write(workdir)


def table(rows: Sequence[Mapping[str, str]]) -> str:
  """Mean and deviation of each method's last measures, as text."""
  titles = 'eigenvalue', 'sharpness', 'gap', 'loss drop'
  methods = list(dict.fromkeys(row['method'] for row in rows))
  wide = max(map(len, methods))
  lines = [' ' * wide + ''.join(f'{title:>17}' for title in titles)]
  # The last row of each run, which a method may have ended early.
  last = {(row['method'], row['seed']): row for row in rows}
  for method in methods:
    own = [row for (name, _), row in last.items() if name == method]
    cells = []
    for name in MEASURES:
      values = [float(row[name]) for row in own]
      more = f' +- {np.std(values, ddof=1):.4f}' if len(values) > 1 else ''
      cells.append(f'{np.mean(values):.4f}{more}')
    lines.append(f'{method:<{wide}}' + ''.join(f'{cell:>17}' for cell in cells))
  return '\n'.join(lines)

"""The table of all methods, from a study of configs/methods.py.

  python benchmarks/methods.py --config=configs/methods.py:digits \\
    --workdir=runs/methods_digits --page=docs/methods/comparison.md

It runs what of the study is not done, unless `--done`, has XLA say what memory
a search takes, and writes the table into the page, between the marks of the
config's scale. Runs that are not done are left out, so that it can be called at
any time; n is how many of a line are.
"""

import argparse
import inspect
import pathlib
import re
import statistics
from typing import NamedTuple

from scipy import stats

from sdnas_jax import experiments
from sdnas_jax import methods
from sdnas_jax.report import table
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import published
from sdnas_jax.tasks import search
from sdnas_jax.tasks import study

DOCS = pathlib.Path(__file__).parent.parent / 'docs' / 'methods'
CODES = {name: code for code, name in published.OPERATIONS.items()}
# What a scale judges a cell by, in %.
RATED = {'digits': 'accuracy', 'full': 'accuracy', 'proxy': 'cifar10 test'}


class Line(NamedTuple):
  """What the searches of a variant came to, a number each seed."""

  rated: dict[str, float]  # by seed, in %
  eigenvalues: list[float]
  speed: float  # images a second, the median
  memory: int  # bytes
  cell: str  # of the first seed


def main():
  """Runs, measures, writes."""
  given = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  given.add_argument('--config', required=True)
  given.add_argument('--workdir', type=pathlib.Path, required=True)
  given.add_argument('--page', type=pathlib.Path, required=True)
  given.add_argument('--done', action='store_true', help='run no more of it')
  asked = given.parse_args()
  config = experiments.load(asked.config)
  scale = asked.config.partition(':')[2] or 'full'
  mark = f'<!-- {scale} -->\n'
  if not asked.page.is_file() or asked.page.read_text().count(mark) != 2:
    given.error(f'{asked.page} needs the line {mark.strip()} twice')
  if not asked.done:
    study.run(config, asked.workdir, False)
  runs = study.plan(config, asked.workdir)
  found = read(asked.workdir, {one.name: one for one in runs}, RATED[scale])
  if 'darts' not in found:
    given.error('darts, which the others are compared with, has not run yet')
  text = '\n'.join([table.markdown(rows(found)), verdict(found)])
  before, _, after = asked.page.read_text().split(mark)
  asked.page.write_text(f'{before}{mark}\n{text}\n{mark}{after}')


def read(workdir, runs, rated):
  """The lines of the methods that have one, with and without distillation."""
  seen, found = artifacts.read_rows(workdir / 'study.csv'), {}
  for name in (n for m in methods.METHODS for n in (m, f'sd_{m}')):
    own = [row for row in seen if row['variant'] == name and row[rated]]
    if own:
      scale = 100 if rated == 'accuracy' else 1
      found[name] = Line(
        {row['seed']: scale * float(row[rated]) for row in own},
        [float(x) for row in own if (x := row['dominant_eigenvalue'])],
        speed([workdir / f'{name}-{row["seed"]}' for row in own]),
        memory(runs[name], workdir / 'plans' / name),
        code(published.find(str(workdir / f'{name}-{own[0]["seed"]}'))),
      )
  return found


def speed(folders):
  """The median of the epochs' images a second."""
  tables = [artifacts.read_rows(path / 'metrics.csv') for path in folders]
  each = [float(row['images_per_second']) for rows in tables for row in rows]
  return statistics.median(each)


def memory(run, folder):
  """Bytes of a device, as XLA plans a search's programs."""
  if not (folder / 'plan.json').exists():
    search.run(run.search, folder, 'memory')
  return artifacts.read_json(folder / 'plan.json')['device_bytes']


def code(cell):
  """A cell as text: the normal one, node by node, if it has kinds."""
  graphs = cell.graphs
  if 'normal' not in graphs:
    return getattr(cell, 'architecture', f'{len(graphs)} cells')
  nodes = [
    ' '.join(f'{CODES.get(op, op)}-{i}' for op, i in pairs) or '-'
    for pairs in graphs['normal'].nodes
  ]
  return ' / '.join(nodes)


def rows(found):
  """A line for each method, and for it with self-distillation."""
  plain, made = found['darts'], []
  for name, line in found.items():
    method = name.removeprefix('sd_')
    taught = name != method
    made.append(
      {
        'method': '+ distillation' if taught else f'[{name}]({name}.md)',
        'n': str(len(line.rated)),
        'accuracy, %': spread([*line.rated.values()], 2),
        'gained': gained(found, method)[0] if taught else '',
        'eigenvalue': spread(line.eigenvalues, 3),
        'time': f'{plain.speed / line.speed:.2f}',
        'memory': f'{line.memory / plain.memory:.2f}',
        'lines': '' if taught else lines(method),
        'published error': '' if taught else told(method),
        'cell, first seed': f'`{line.cell}`',
      }
    )
  return made


def spread(values, digits):
  """Mean and deviation, as text, of those that there are."""
  if not values:
    return ''
  mean = f'{statistics.fmean(values):.{digits}f}'
  if len(values) < 2:
    return mean
  return f'{mean} ± {statistics.stdev(values):.{digits}f}'


def gained(found, method):
  """What distillation gains a method, in points, and each seed's difference."""
  plain, taught = (found.get(n) for n in (method, f'sd_{method}'))
  if not plain or not taught:
    return '', []
  seeds = plain.rated.keys() & taught.rated.keys()
  each = [taught.rated[seed] - plain.rated[seed] for seed in seeds]
  return (f'{statistics.fmean(each):+.2f}' if each else ''), each


def lines(method):
  """How long a method's file is."""
  path = inspect.getfile(methods.METHODS[method])
  return str(len(pathlib.Path(path).read_text().splitlines()))


def told(method):
  """The test error on CIFAR-10 that its page has as published."""
  page = (DOCS / f'{method}.md').read_text()
  said = page.partition('**Published:**')[2].partition('\n## ')[0]
  error = re.search(r'(\d\.\d+( ± \d\.\d+)?) % test error on CIFAR-10', said)
  return f'{error[1]} %' if error else ''


def verdict(found):
  """Which methods distillation helps, and whether beyond the seeds' spread."""
  each = {m: gained(found, m)[1] for m in methods.METHODS}
  each = {name: own for name, own in each.items() if own}
  means = [statistics.fmean(own) for own in each.values()]
  if len(means) < 2:
    return ''
  beyond = {
    name: statistics.fmean(own)
    for name, own in each.items()
    if len(own) > 2 and stats.ttest_1samp(own, 0).pvalue < 0.05
  }
  test = stats.wilcoxon(means)
  apart = ', '.join(f'{name} {gain:+.2f}' for name, gain in beyond.items())
  return (
    f'Distillation raises the mean of {sum(m > 0 for m in means)} of '
    f'{len(means)} methods and lowers that of {sum(m < 0 for m in means)}, by '
    f'{statistics.fmean(means):+.2f} points on average (Wilcoxon, a pair a '
    f'method: p = {test.pvalue:.2f}). Apart from 0 by a t test over the seeds, '
    f'p < 0.05 each: {apart or "none"}; of so many methods, '
    f'{0.05 * len(means):.1f} would be by chance.\n'
  )


if __name__ == '__main__':
  main()

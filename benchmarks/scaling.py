"""How the search step's time and memory grow, each quantity varied alone.

  python benchmarks/scaling.py
  python benchmarks/scaling.py --vary batch=8,32 layers --base channels=16
  python benchmarks/scaling.py --spaces nasbench201

Each point is a process of its own and a row of OUT/scaling.csv, a figure being
a median over rounds; a space's base comes first and last, and where these
differ, so much of the other differences is the machine's. OUT/scaling.png shows
the rest, both spaces side by side, whose layers are not the same: those of
NAS-Bench-201 are a stage's. `peak` is the process's, compiler and JAX included;
`planned` is what XLA sets aside for the step and its arguments, data set
included, on all devices. Devices are virtual: they share the CPU, so what grows
with them is the cost of dividing.
"""

import argparse
from collections.abc import Sequence
import csv
import multiprocessing
import pathlib
import re
import statistics
import textwrap
import time

import search_step

SPACES = 'darts', 'nasbench201'
BASE = {
  'batch': 16,
  'channels': 8,
  'layers': 1,
  'classes': 10,
  'teachers': 2,
  'devices': 1,
}
POINTS = {
  'batch': [4, 64, 256],
  'channels': [4, 16, 32],
  'layers': [2, 4],
  'classes': [100, 1000],
  'teachers': [16, 128],
  'devices': [2, 4],
}
EXAMPLES = 8192  # of each half, so that only the batch changes with it
COLUMNS = ('seconds', 'peak_gb', 'planned_gb', 'compile_seconds')


def measure(
  space: str, values: dict[str, int], rounds: int
) -> dict[str, float]:
  """The columns of one point.

  Raises:
    EOFError: its process died.
  """
  override = {
    'space': space,
    'batch_size': values['batch'],
    'model.channels': values['channels'],
    'model.layers': values['layers'],
    'distill.teachers': values['teachers'],
  }
  point = search_step.Point(
    override, values['classes'], EXAMPLES, values['devices'], again=False
  )
  context = multiprocessing.get_context('spawn')
  pipe = search_step.serve(context, search_step.ours, point)
  compiled = pipe.recv()
  times = [search_step.ask(pipe, 1)[0] for _ in range(rounds + 1)]
  peak, planned = search_step.ask(pipe, None)
  figures = statistics.median(times[1:]), peak, planned, sum(compiled.values())
  return dict(zip(COLUMNS, figures, strict=True))


def sweep(
  spaces: Sequence[str],
  base: dict[str, int],
  points: dict[str, list[int]],
  rounds: int,
  out: pathlib.Path,
) -> list[dict]:
  """Measures in each space the base, each point, the base.

  Rows are written as they come.
  """
  # The base again at the end tells how much else the machine had to do.
  varied = [(q, v) for q, vs in points.items() for v in vs]
  own = [('base', 0), *varied, ('base', 0)]
  plan = [(space, *point) for space in spaces for point in own]
  begun, rows = time.monotonic(), []
  print(f'{"":8} {"space":>11} {"quantity":>9} {"value":>6}', end=' ')
  print(f'{"step":>8} {"peak":>8} {"planned":>9} {"compile":>7}')
  names = 'space', 'quantity', 'value', *base, *COLUMNS
  with (out / 'scaling.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    for n, (space, quantity, value) in enumerate(plan, 1):
      at = f'{n}/{len(plan)}'
      head = f'{at:8} {space:>11} {quantity:>9} {value or "":>6} '
      print(head, end='', flush=True)
      values = base | ({quantity: value} if value else {})
      try:
        got = measure(space, values, rounds)
      except EOFError:
        print('failed', flush=True)
        continue
      row = dict(zip(names, (space, quantity, value), strict=False))
      row |= values | got
      rows.append(row)
      writer.writerow({k: _rounded(v) for k, v in row.items()})
      file.flush()
      print('{:6.3f} s {:5.2f} GB {:6.3f} GB {:5.0f} s'.format(*got.values()))
  print(f'{time.monotonic() - begun:.0f} s in all')
  return rows


def _rounded(value):
  return round(value, 4) if isinstance(value, float) else value


def draw(rows: list[dict], path: pathlib.Path) -> None:
  """Time and memory over each quantity, on logarithmic axes."""
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot as plt
  from matplotlib import ticker

  varied = list(dict.fromkeys(r['quantity'] for r in rows))
  varied.remove('base')
  bases = {}  # the first of each space, or what there is of them
  for row in rows:
    if row['quantity'] == 'base':
      bases.setdefault(row['space'], row)
  figure, axes = plt.subplots(
    2,
    len(varied),
    figsize=(1 + 2 * len(varied), 5),
    sharex='col',
    sharey='row',
    squeeze=False,
    layout='constrained',
  )
  for pair, quantity in zip(axes.T, varied, strict=True):
    for space, base in bases.items():
      own = [
        r for r in rows if (r['space'], r['quantity']) == (space, quantity)
      ]
      line = sorted([base, *own], key=lambda row: row[quantity])
      column(*pair, quantity, base, line)
  times = [row['seconds'] for row in rows]
  axes[0, 0].set_ylim(min(times) / 1.5, max(times) * 1.5)
  for axis, label in zip(axes[:, 0], ('s a step', 'GB'), strict=True):
    axis.set(yscale='log', ylabel=label)
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter('{x:g}')
    axis.yaxis.set_minor_locator(ticker.NullLocator())
  axes[0, 0].legend(frameon=False, fontsize='small')
  lines, names = axes[1, 0].get_legend_handles_labels()
  figure.legend(lines, names, loc='outside lower center', ncols=4)
  base = next(iter(bases.values()))
  values = ', '.join(f'{name} {base[name]}' for name in BASE)
  title = f'The search step, each quantity varied alone around {values}'
  title += '; dotted: in proportion'
  figure.suptitle(textwrap.fill(title, 24 * len(varied)), fontsize='medium')
  figure.savefig(path, dpi=130)


def column(time_axis, memory_axis, quantity, base, line):
  """A space's lines over a quantity."""
  x, space = [row[quantity] for row in line], base['space']
  color = f'C{SPACES.index(space)}'
  slope = [base['seconds'] * v / base[quantity] for v in x]
  measured = [row['seconds'] for row in line]
  time_axis.plot(x, measured, 'o-', color=color, label=space)
  time_axis.plot(x, slope, ':', color=color, alpha=0.6)
  for name, style in (('peak', 'o-'), ('planned', 's--')):
    y = [row[f'{name}_gb'] for row in line]
    memory_axis.plot(x, y, style, color=color, label=f'{space}, {name}')
  memory_axis.set(xlabel=quantity, xscale='log')
  memory_axis.set_xticks(x, map(str, x))
  memory_axis.minorticks_off()
  for axis in (time_axis, memory_axis):
    axis.margins(x=0.15)
    axis.grid(alpha=0.3)
    axis.spines[['top', 'right']].set_visible(False)


def parse(words: list[str], allowed: dict) -> dict[str, list[int]]:
  """Reads NAME and NAME=1,2; without values, those that are allowed."""
  read = {}
  for word in words:
    name, _, values = word.partition('=')
    if name not in allowed:
      raise SystemExit(f'{name} is none of {", ".join(allowed)}')
    if not re.fullmatch(r'([1-9]\d*(,[1-9]\d*)*)?', values):
      raise SystemExit(f'{word} needs numbers above 0, such as {name}=1,2')
    read[name] = (
      [int(v) for v in values.split(',')] if values else allowed[name]
    )
  return read


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--out', type=pathlib.Path, default='runs/scaling')
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--spaces', nargs='+', choices=SPACES, default=SPACES)
  many = {'nargs': '+', 'default': [], 'metavar': 'NAME=VALUE'}
  parser.add_argument('--base', **many, help=f'by default {BASE}')
  many['metavar'] = 'NAME[=VALUE,...]'
  parser.add_argument('--vary', **many, help=f'by default {POINTS}')
  args = parser.parse_args()
  given = parse(args.base, {name: [value] for name, value in BASE.items()})
  base = BASE | {name: values[0] for name, values in given.items()}
  points = parse(args.vary or list(POINTS), POINTS)
  points = {q: [v for v in vs if v != base[q]] for q, vs in points.items()}
  args.out.mkdir(parents=True, exist_ok=True)
  rows = sweep(args.spaces, base, points, args.rounds, args.out)
  quantities = {row['quantity'] for row in rows}
  if 'base' in quantities and len(quantities) > 1:
    draw(rows, args.out / 'scaling.png')
    print(f'{args.out / "scaling.png"} is drawn')


if __name__ == '__main__':
  main()

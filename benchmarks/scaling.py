"""How the search step's time and memory grow, each quantity varied alone.

  python benchmarks/scaling.py
  python benchmarks/scaling.py --vary batch=8,32 layers --base channels=16

Each point is a process of its own and a row of OUT/scaling.csv, a figure being
a median over rounds; the base comes first and last, and where these differ, so
much of the other differences is the machine's. OUT/scaling.png shows
the rest. `peak` is the process's, compiler and JAX included; `planned` is what
XLA sets aside for the step and its arguments, data set included, on all
devices. Devices are virtual: they share the CPU, so what grows with them is the
cost of dividing.
"""

import argparse
import csv
import multiprocessing
import pathlib
import re
import statistics
import textwrap
import time

import search_step

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


def measure(values: dict[str, int], rounds: int) -> dict[str, float]:
  """The columns of one point.

  Raises:
    EOFError: its process died.
  """
  override = {
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
  base: dict[str, int],
  points: dict[str, list[int]],
  rounds: int,
  out: pathlib.Path,
) -> list[dict]:
  """Measures the base, each point, the base, and writes rows as they come."""
  # The base again at the end tells how much else the machine had to do.
  varied = [(q, v) for q, vs in points.items() for v in vs]
  plan = [('base', 0), *varied, ('base', 0)]
  begun, rows = time.monotonic(), []
  print(f'{"":8} {"quantity":>9} {"value":>6} {"step":>8} ', end='')
  print(f'{"peak":>8} {"planned":>9} {"compile":>7}')
  with (out / 'scaling.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, ('quantity', 'value', *base, *COLUMNS))
    writer.writeheader()
    for n, (quantity, value) in enumerate(plan, 1):
      at = f'{n}/{len(plan)}'
      print(f'{at:8} {quantity:>9} {value or "":>6} ', end='', flush=True)
      values = base | ({quantity: value} if value else {})
      try:
        got = measure(values, rounds)
      except EOFError:
        print('failed', flush=True)
        continue
      row = {'quantity': quantity, 'value': value, **values, **got}
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

  base, varied = rows[0], list(dict.fromkeys(r['quantity'] for r in rows))
  varied.remove('base')
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
    line = [base, *(r for r in rows if r['quantity'] == quantity)]
    column(*pair, quantity, base, sorted(line, key=lambda r: r[quantity]))
  times = [row['seconds'] for row in rows]
  axes[0, 0].set_ylim(min(times) / 1.5, max(times) * 1.5)
  for axis, label in zip(axes[:, 0], ('s a step', 'GB'), strict=True):
    axis.set(yscale='log', ylabel=label)
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter('{x:g}')
    axis.yaxis.set_minor_locator(ticker.NullLocator())
    axis.legend(frameon=False, fontsize='small')
  values = ', '.join(f'{name} {base[name]}' for name in BASE)
  title = f'The search step, each quantity varied alone around {values}'
  figure.suptitle(textwrap.fill(title, 24 * len(varied)), fontsize='medium')
  figure.savefig(path, dpi=130)


def column(time_axis, memory_axis, quantity, base, line):
  x = [row[quantity] for row in line]
  slope = [base['seconds'] * v / base[quantity] for v in x]
  time_axis.plot(x, [row['seconds'] for row in line], 'o-', label='measured')
  time_axis.plot(x, slope, ':', color='0.6', label='proportional')
  for name, style in (('peak', 'o-'), ('planned', 's--')):
    memory_axis.plot(x, [r[f'{name}_gb'] for r in line], style, label=name)
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
  rows = sweep(base, points, args.rounds, args.out)
  some = len({row['quantity'] for row in rows}) > 1
  if some and rows[0]['quantity'] == 'base':
    draw(rows, args.out / 'scaling.png')
    print(f'{args.out / "scaling.png"} is drawn')


if __name__ == '__main__':
  main()

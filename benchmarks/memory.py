"""Does a search's memory grow by the epoch? Draws it for many short ones.

python benchmarks/memory.py --epochs=300 --out=docs/memory.png
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from sdnas_jax.report import figures

ROOT = pathlib.Path(__file__).parent.parent


def watched(epochs, workdir):
  """(epochs done, resident megabytes), as a search goes on."""
  flags = (
    '--config=configs/search_digits.py',
    *(f'--config.epochs={epochs}', '--config.data.examples=256'),
    *('--config.model.channels=4', '--config.model.layers=3'),
    *('--config.sharpness.landscape=0', '--config.sharpness.spectrum=False'),
    f'--workdir={workdir}',
  )
  command = [sys.executable, 'launch.py', *flags]
  quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
  run, table = (
    subprocess.Popen(command, cwd=ROOT, **quiet),
    workdir / 'metrics.csv',
  )
  status = pathlib.Path(f'/proc/{run.pid}/status')
  while run.poll() is None:
    time.sleep(0.2)
    if table.exists():
      done = len(table.read_text().splitlines()) - 1
      lines = dict(
        line.split(':', 1) for line in status.read_text().splitlines()
      )
      if 'VmRSS' in lines:  # not of a process that ends
        yield done, int(lines['VmRSS'].split()[0]) / 1024


def main():
  given = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  given.add_argument('--epochs', type=int, default=300)
  given.add_argument('--out', type=pathlib.Path)
  asked = given.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    seen = list(watched(asked.epochs, pathlib.Path(folder) / 'run'))
  # The first epochs fill what is kept; the last draw the pictures.
  third = asked.epochs // 3
  early, late = (
    statistics.median(mb for n, mb in seen if first <= n < first + third)
    for first in (third // 3, 2 * third - third // 3)
  )
  print(
    f'{early:.0f} MB in epochs {third // 3} to {third // 3 + third}, ', end=''
  )
  print(f'{late:.0f} MB in as many later: {late / early - 1:+.1%}')
  if asked.out:
    picture, (panel,) = figures.panels(1, 6, 3)
    panel.plot(*zip(*seen, strict=True), color=figures.BLUE, lw=1)
    panel.set_xlabel('epoch')
    panel.set_ylabel('resident memory, MB')
    panel.set_ylim(bottom=0)
    asked.out.write_bytes(figures.png(picture))


if __name__ == '__main__':
  main()

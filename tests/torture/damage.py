"""Damages a file of a finished or a killed run, then resumes or reports it.

  python -m tests.torture.damage --count=200 --seed=0

A file is halved, emptied, cut, has a bit flipped, or goes. All must be as it
would have been, or a sentence; what is neither is a fault.
"""

import contextlib
import io
import shutil
import sys

import numpy as np

from configs import search_digits
from sdnas_jax import errors
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import report
from sdnas_jax.tasks import search
from tests import torture
from tests import toys


class Killed(BaseException):
  """As a process is, at any moment."""


def config():
  own = search_digits.get_config()
  own.space, own.epochs, own.batch_size, own.data.examples = 'toy', 4, 16, 64
  own.distill.warmup, own.model.channels, own.alphas.warmup = 1, 2, 0
  own.sharpness.landscape, own.sharpness.spectrum = 3, True
  own.sharpness.every = 2
  return own


def ended(own, folder):
  """A finished run of a config, and one that was killed in its third epoch."""
  SPACES['toy'] = toys.SPACE
  whole, half = folder / 'whole', folder / 'half'
  search.run(own, whole, False)
  usual = search.record.Record.epoch

  def epoch(self, stage, state, *args):
    if int(state.epoch) == 2:
      raise Killed
    return usual(self, stage, state, *args)

  search.record.Record.epoch = epoch
  with contextlib.suppress(Killed):
    search.run(own, half, False)
  search.record.Record.epoch = usual
  report.write(half)
  return whole, half


def outcome(act, workdir, expected):
  """'fine', 'mended', 'a sentence', 'silent', or a traceback's last line."""
  said = io.StringIO()
  try:
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
      found = act(workdir)
  except errors.BadInput as error:
    return 'a sentence' if '\n' not in str(error) else f'lines: {error}'
  except Exception as error:
    return f'traceback: {type(error).__name__}: {error}'
  told = any(
    word in said.getvalue()
    for word in ('damaged', 'begins anew', 'left out', 'is not as the run')
  )
  if found == expected:
    return 'mended' if told else 'fine'
  return 'a sentence' if told else 'silent'


def resumed(workdir):
  search.run(config(), workdir, False)
  return torture.left(workdir)


def reported(workdir):
  """The page, but for the list of files."""
  (workdir / 'report.html').unlink(missing_ok=True)
  report.write(workdir)
  return (workdir / 'report.html').read_text().split('id="files"')[0]


def tortured(count, seed, folder):
  """(what was done, what came of it) so many times."""
  rng = np.random.default_rng(seed)
  said = io.StringIO()
  with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    runs = dict(zip(('whole', 'half'), ended(config(), folder), strict=True))
  expected = torture.left(runs['whole'])
  pages = {name: reported(path) for name, path in runs.items()}
  for n in range(count):
    name = rng.choice(list(runs))
    copy = folder / str(n) / name
    shutil.copytree(runs[name], copy)
    files = sorted(path for path in copy.rglob('*') if path.is_file())
    path = files[rng.integers(len(files))]
    way = rng.choice(torture.DAMAGES)
    torture.spoil(path, way, rng)
    what = f'{name}: {path.relative_to(copy)} {way}'
    if rng.random() < 0.5:
      yield f'{what}, resumed', outcome(resumed, copy, expected)
    else:
      yield f'{what}, reported', outcome(reported, copy, pages[name])
    shutil.rmtree(copy)


if __name__ == '__main__':
  good = 'fine', 'mended', 'a sentence'
  sys.exit(torture.main('damaged files', tortured, count=200, good=good))

"""Does a trained supernet rank architectures as training from scratch does?

What a finished search of NAS-Bench-201's space adds to its folder: the
supernet's accuracy of a sample of the architectures, beside the truth.

>>> found = rank.read(pathlib.Path('runs/mine/rank.csv'), 'cifar10')
>>> rank.told(found)
"Kendall's tau: 0.512 of all 200 architectures, 0.231 of the better half"
"""

import pathlib

import jax
import numpy as np

from sdnas_jax import parallel
from sdnas_jax.analysis import truth
from sdnas_jax.report import figures
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import nasbench201 as cells
from sdnas_jax.steps import sharpness
from sdnas_jax.tasks import measure


def add(
  view: sharpness.View,
  workdir: pathlib.Path,
  data: str,
  samples: int,
  batches: int,
) -> None:
  """Adds rank.csv and rank.png to a finished search, if samples are asked for.

  What is there already is kept if the same was asked for.
  """
  if not samples:
    return
  path, sample = workdir / 'rank.csv', drawn(int(view.seed), samples)
  images = min(batches * view.setup.batch_size, len(view.valid.labels))
  asked = [(f'{index}', f'{images}') for index in sample]
  whole = path.name not in artifacts.broken(workdir)
  rows = artifacts.read_rows(path) if whole else []
  there = [(row['index'], row['images']) for row in rows]
  if parallel.most(int(parallel.leads() and there != asked))[0]:
    found = [cells.of(cells.cell(index)) for index in sample]
    some = jax.tree.map(lambda x: x[:images], jax.device_get(view.valid))
    view = view.replace(valid=parallel.replicate(some), probe=None)
    # One program serves all; only the mix changes.
    calls = [(view, measure.hard(view, genotype)) for genotype in found]
    seen = measure.collect(sharpness.accuracy, calls, 'rank', 'cell')
    rows = [
      {
        'index': index,
        'architecture': genotype.architecture,
        'supernet_accuracy': round(float(accuracy), 6),
        **truth.row(genotype, data),
        'skip_connections': genotype.architecture.count('skip_connect'),
        'images': images,
      }
      for index, genotype, accuracy in zip(sample, found, seen, strict=True)
    ]
    if parallel.leads():
      artifacts.write_rows(path, rows)
  if parallel.leads():
    found = read(path, data)
    titles = {f'{k}: tau {tau(v):.3f}': v for k, v in parts(found).items()}
    artifacts.write(path.with_suffix('.png'), figures.scatter(titles))
    print(told(found))


def drawn(seed: int, samples: int) -> list[int]:
  """Indices of so many architectures, none twice.

  A larger sample of one seed contains the smaller.
  """
  rng = np.random.default_rng((seed, 3))
  return rng.permutation(cells.SIZE)[:samples].tolist()


def read(path: pathlib.Path, data: str) -> np.ndarray:
  """[n, 3] of a rank.csv: the supernet's accuracy, the true one, the skips."""
  names = 'supernet_accuracy', truth.column(data), 'skip_connections'
  rows = artifacts.read_rows(path)
  return np.array([[float(row[name]) for name in names] for row in rows])


def parts(found: np.ndarray) -> dict[str, np.ndarray]:
  """All, and the truly better half: good from bad may be all that is told."""
  better = found[:, 1] >= np.median(found[:, 1])
  return {
    f'all {len(found)} architectures': found,
    'the better half': found[better],
  }


def tau(found: np.ndarray) -> float:
  """Kendall's tau-b of the two accuracies; nan if one is the same for all.

  Of fewer than three architectures it is nan, too.
  """
  from scipy import stats  # whose import takes a second

  if len(found) < 3:
    return float('nan')
  return float(stats.kendalltau(found[:, 0], found[:, 1]).statistic)


def told(found: np.ndarray) -> str:
  """How well the supernet ranks, in a sentence."""
  each = [f'{tau(part):.3f} of {name}' for name, part in parts(found).items()]
  return f"Kendall's tau: {', '.join(each)}"

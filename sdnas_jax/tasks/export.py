"""Writes the network that a run trained for other programs:

  python -m sdnas_jax.tasks.export runs/found --out=network.onnx

The file's ending says for which (docs/export.md).
"""

import argparse
from collections.abc import Callable
import io
import pathlib
import sys

import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import dataset
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import export
from sdnas_jax.runs import folder
from sdnas_jax.runs import onnx
from sdnas_jax.runs import pytorch
from sdnas_jax.tasks import evaluate


def npz(net, variables, source) -> bytes:
  """The weights by the names of PyTorch DARTS, as a file of NumPy's."""
  data = io.BytesIO()
  np.savez(data, **pytorch.weights(net, variables))
  return data.getvalue()


# Each from a network, its variables and the source of its images.
FORMS: dict[str, Callable[..., bytes]] = {
  '.npz': npz,
  '.onnx': onnx.model,
  '.stablehlo': export.stablehlo,
}


def write(workdir: pathlib.Path, path: pathlib.Path) -> int:
  """Writes a training's network in the form of a file's ending.

  Returns:
    How many bytes that are.

  Raises:
    BadInput: there is no such form, or no trained network.
  """
  errors.pick('ending', path.suffix, FORMS)
  if not path.parent.is_dir():
    raise errors.BadInput(f'there is no folder {path.parent}: make it first')
  net, variables = evaluate.load(workdir)
  source = dataset.recalled(folder.about(workdir)['data'])
  made = FORMS[path.suffix](net, variables, source)
  artifacts.write(path, made)
  return len(made)


def main(argv: list[str]) -> int:
  """Writes the file; returns the exit code, 2 for what cannot be."""
  parser = argparse.ArgumentParser(
    prog='python -m sdnas_jax.tasks.export',
    description='Writes a trained network for other programs.',
  )
  parser.add_argument('workdir', type=pathlib.Path, help='of the training')
  ends = ', '.join(FORMS)
  parser.add_argument(
    '--out', type=pathlib.Path, required=True, help=f'a file, of {ends}'
  )
  args = parser.parse_args(argv)
  try:
    size = write(args.workdir, args.out)
  except (errors.BadInput, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  print(f'{args.out}: {size:,} bytes')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))

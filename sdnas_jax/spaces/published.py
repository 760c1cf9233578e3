"""Published cells of the DARTS space and its like, as data.

  >>> from sdnas_jax.spaces import published
  >>> published.CELLS['DARTS_V2'].genotype.graphs['normal'].nodes[0]
  (('sep_conv_3x3', 0), ('sep_conv_3x3', 1))

Transcribed from the authors' repositories into published.csv. A cell is written
there node by node, mostly two operation-source pairs each: `s3-0 sk-1 | ...`.
"""

from collections.abc import Mapping
import csv
import pathlib
import re
from typing import Any
from typing import NamedTuple

from sdnas_jax import errors
from sdnas_jax.spaces import foreign
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space
from sdnas_jax.spaces import SPACES

LARGEST = 1_000_000  # bytes of a file
OPERATIONS = {
  'mp': 'max_pool_3x3',
  'ap': 'avg_pool_3x3',
  'sk': 'skip_connect',
  's3': 'sep_conv_3x3',
  's5': 'sep_conv_5x5',
  's7': 'sep_conv_7x7',
  'd3': 'dil_conv_3x3',
  'd5': 'dil_conv_5x5',
  'c71': 'conv_7x1_1x7',
  'no': 'noise',
}


class Published(NamedTuple):
  """A cell, where it is from, and how its method does on CIFAR-10.

  The figures, of some, are those of Table 2 in the SD-DARTS paper; a method's
  mean, where it has one, not this cell's.
  """

  genotype: space.Genotype
  source: str
  error: float | None = None  # %
  parameters: float | None = None  # millions


def _cell(text, concat):
  nodes = ([word.split('-') for word in own.split()] for own in text.split('|'))
  pairs = (tuple((OPERATIONS[o], int(i)) for o, i in own) for own in nodes)
  return space.Graph(2, tuple(pairs), tuple(map(int, concat.split())))


def _entry(row):
  names = 'normal', 'reduce'
  cells = ((name, _cell(row[name], row[f'{name}_concat'])) for name in names)
  figures = (float(row[n]) if row[n] else None for n in Published._fields[2:])
  genotype = space.Genotype(row['space'] or 'darts', tuple(cells))
  return Published(genotype, row['source'], *figures)


with pathlib.Path(__file__).with_suffix('.csv').open(newline='') as file:
  CELLS = {row['name']: _entry(row) for row in csv.DictReader(file)}


def read(fields: Mapping[str, Any]) -> space.Genotype | nasbench201.Genotype:
  """A genotype from the fields of its file, in which it is not yet checked.

  Raises:
    ValueError, KeyError, TypeError: they are not a genotype's.
  """
  return SPACES[fields['space']].genotype.read(fields)


def find(name: str) -> space.Genotype | nasbench201.Genotype:
  """The genotype that a name, a path, a text or NAS-Bench-201 gives.

  Args:
    name: of a published cell; or the path of a file in one of the forms of
      `foreign`, with `:NAME` behind it if it has several; or of a run's folder;
      or what such a file may say; or an index of NAS-Bench-201.

  Raises:
    BadInput: there is none, or it is no genotype.
  """
  if name in CELLS:
    return CELLS[name].genotype
  if name.isdecimal():
    # One with more digits is none, and Python reads but some thousands.
    return nasbench201.of(nasbench201.cell(int(name[:99])))
  bare = name.strip(' \n\'"')
  if bare.startswith('|'):
    return nasbench201.of(nasbench201.parse(bare))
  if not re.search(r'[/.(\[{]', name) and not _there(name):
    errors.pick('genotype', name, CELLS)
  try:
    genotype = read(foreign.read(*_text(name)))
  except errors.BadInput as error:
    raise errors.BadInput(f'{errors.cut(name, 300)}: {error}') from error
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    why = errors.cut(f'{type(error).__name__}: {error}', 300)
    raise errors.BadInput(
      f'{errors.cut(name, 300)} is not a genotype ({why}): give a file that '
      f'has one, or one of {", ".join(CELLS)}'
    ) from error
  if isinstance(genotype, space.Genotype):  # a string is right once read
    _check(genotype, errors.cut(name, 300))
  return genotype


def _text(name):
  """What a file holds, and the name behind its path; or the text itself."""
  if re.match(r'\s*(\w+\s*=\s*)?\w*[(\[{]', name) and not _there(name):
    return name, ''
  path, _, chosen = name.rpartition(':')
  if _there(name) or not path:
    path, chosen = name, ''
  path = pathlib.Path(path)
  if path.is_dir():
    files = path / 'genotype.json', path / 'result.json'
    path = next((file for file in files if file.exists()), path)
  if path.exists() and not path.is_file():  # a pipe may never end
    raise ValueError('no file')
  with path.open('rb') as file:
    text = file.read(LARGEST + 1)
  if len(text) > LARGEST:
    raise ValueError(f'more than {LARGEST} bytes')
  return text.decode('utf-8-sig', errors='replace'), chosen


def _there(name):
  """Whether there is such a file; none has too long a name."""
  try:
    return pathlib.Path(name).exists()
  except (OSError, ValueError):
    return False


def _check(genotype, path):
  """Refuses cells that cannot be made into a network."""
  names, count = [*genotype.graphs], len(genotype.cells) or 1
  if names not in (['normal', 'reduce'], [f'cell{n}' for n in range(count)]):
    told = errors.cut(', '.join(names)) or 'none'
    raise errors.BadInput(
      f'{path} has the cells {told}: name them normal and reduce, or, one for '
      'each cell of the network, cell0, cell1, ...'
    )
  halves = 'reduce', *(f'cell{n}' for n in space.reductions(count))
  for name, graph in genotype.cells:
    title = f'the {space.title(name)} of {path}'
    for operation, _, node in graph.edges:
      what = f'operation at node {node} of {title}'
      errors.pick(what, operation, ('none', *OPERATIONS.values()))
    for fault in _faults(graph, name in halves):
      raise errors.BadInput(f'{title} {fault}')


def _faults(graph, halves):
  """What is wrong with a cell's edges and outputs, with the fix."""
  last, outputs = graph.inputs + len(graph.nodes) - 1, graph.outputs
  if len(graph.edges) + len(graph.nodes) + len(outputs) > foreign.MOST:
    most = f'{foreign.MOST} nodes, edges and outputs'
    yield f'has more than {most}: make it smaller'
  for _, source, node in graph.edges:
    if not 0 <= source < node:
      told = f'feeds node {node} from node {source}, which is not before it'
      yield f'{told}: choose one from 0 to {node - 1}'
  if not graph.fed:
    yield 'has no node with inputs: give it an operation'
  if not outputs or not 0 <= min(outputs) <= max(outputs) <= last:
    told = f'concatenates {errors.short([*outputs])}, but its nodes are'
    yield f'{told} 0 to {last}: choose among these'
  if halves and min(outputs) < graph.inputs:
    yield 'concatenates an input, which is twice as large as its nodes: drop it'
  if not {*range(graph.inputs), *graph.fed}.intersection(outputs):
    yield f'concatenates no node with inputs: choose among {[*graph.fed]}'

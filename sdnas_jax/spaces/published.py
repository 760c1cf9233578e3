"""Published cells of the DARTS space and its like, as data.

  >>> from sdnas_jax.spaces import published
  >>> published.CELLS['DARTS_V2'].genotype.graphs['normal'].nodes[0]
  (('sep_conv_3x3', 0), ('sep_conv_3x3', 1))

Transcribed from the authors' repositories. A cell is written node by node, two
operation-source pairs each: `s3-0 sk-1 | ...`.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any
from typing import NamedTuple

from sdnas_jax import errors
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space
from sdnas_jax.spaces import SPACES

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
}


class Published(NamedTuple):
  """A cell, where it is from, and how its method does on CIFAR-10.

  The figures are those of Table 2 in the SD-DARTS paper; a method's mean, where
  it has one, not this cell's.
  """

  genotype: space.Genotype
  source: str
  error: float | None = None  # %
  parameters: float | None = None  # millions


def _cell(text):
  words = (word.split('-') for word in text.replace('|', ' ').split())
  return tuple((OPERATIONS[code], int(source)) for code, source in words)


def _entry(normal, reduce, source, error=None, parameters=None, concat=None):
  outputs = concat or ((2, 3, 4, 5), (2, 3, 4, 5))
  graphs = map(space.paired, (_cell(normal), _cell(reduce)), outputs)
  cells = zip(('normal', 'reduce'), graphs, strict=True)
  genotype = space.Genotype('darts', tuple(cells))
  return Published(genotype, source, error, parameters)


CELLS = {
  'NASNet': _entry(
    's5-1 s3-0 | s5-0 s3-0 | ap-1 sk-0 | ap-0 ap-0 | s3-1 sk-1',
    's5-1 s7-0 | mp-1 s7-0 | ap-1 s5-0 | sk-3 ap-2 | s3-2 mp-1',
    'Zoph et al., CVPR 2018 (NASNet-A)',
    *(2.65, 3.3),
    concat=((2, 3, 4, 5, 6), (4, 5, 6)),
  ),
  'AmoebaNet': _entry(
    'ap-0 mp-1 | s3-0 s5-2 | s3-0 ap-3 | s3-1 sk-1 | sk-0 ap-1',
    'ap-0 s3-1 | mp-0 s7-2 | s7-0 ap-1 | mp-0 mp-1 | c71-0 s3-5',
    'Real et al., AAAI 2019 (AmoebaNet-A)',
    *(3.34, 3.2),
    concat=((4, 5, 6), (3, 4, 6)),
  ),
  'DARTS_V1': _entry(
    's3-1 s3-0 | sk-0 s3-1 | sk-0 s3-1 | s3-0 sk-2',
    'mp-0 mp-1 | sk-2 mp-0 | mp-0 sk-2 | sk-2 ap-0',
    'Liu et al., ICLR 2019, first order',
    *(3.00, 3.3),
  ),
  'DARTS_V2': _entry(
    's3-0 s3-1 | s3-0 s3-1 | s3-1 sk-0 | sk-0 d3-2',
    'mp-0 mp-1 | sk-2 mp-1 | mp-0 sk-2 | sk-2 mp-1',
    'Liu et al., ICLR 2019, second order',
    *(2.76, 3.3),
  ),
  'PDARTS': _entry(
    'sk-0 d3-1 | sk-0 s3-1 | s3-1 s3-3 | s3-0 d5-4',
    'ap-0 s5-1 | s3-0 d5-2 | mp-0 d3-1 | d3-1 d5-3',
    'Chen et al., ICCV 2019',
    *(2.50, 3.4),
  ),
  'PC_DARTS_cifar': _entry(
    's3-1 sk-0 | s3-0 d3-1 | s5-0 s3-1 | ap-0 d3-1',
    's5-1 mp-0 | s5-1 s5-2 | s3-0 s3-3 | s3-1 s3-2',
    'Xu et al., ICLR 2020, searched on CIFAR-10',
    *(2.57, 3.6),
  ),
  'PC_DARTS_image': _entry(
    'sk-1 s3-0 | s3-0 sk-1 | s3-1 s3-3 | s3-1 d5-4',
    's3-0 sk-1 | d5-2 mp-1 | s3-2 s3-1 | s5-0 s3-3',
    'Xu et al., ICLR 2020, searched on ImageNet',
  ),
  'SNAS_mild': _entry(
    's3-0 s3-1 | sk-0 d3-1 | sk-0 sk-1 | sk-0 s3-1',
    'mp-0 mp-1 | mp-1 sk-2 | mp-1 sk-2 | mp-0 d5-2',
    'Xie et al., ICLR 2019, mild constraint',
    *(2.98, 2.9),
  ),
  'GDAS_V1': _entry(
    'sk-0 sk-1 | sk-0 s5-2 | s3-3 sk-0 | s5-4 s3-3',
    's5-0 s3-1 | s5-2 s5-1 | d5-2 s3-1 | s5-0 s5-1',
    'Dong and Yang, CVPR 2019',
    *(2.93, 3.4),
  ),
  'SDARTS_RS': _entry(
    's3-1 s3-0 | s5-1 sk-0 | s3-3 sk-1 | s3-1 d3-2',
    'mp-0 s3-1 | sk-2 mp-0 | d5-3 mp-0 | s3-2 s5-3',
    'Chen and Hsieh, ICML 2020, random smoothing',
    *(2.67, 3.4),
  ),
  'SDARTS_ADV': _entry(
    's3-0 s3-1 | s3-1 sk-0 | s5-0 d3-3 | d3-4 sk-0',
    'mp-0 s5-1 | sk-2 mp-0 | sk-3 sk-2 | sk-2 s5-4',
    'Chen and Hsieh, ICML 2020, adversarial',
    *(2.61, 3.3),
  ),
  'SGAS_CRI1': _entry(
    's3-0 d3-1 | s3-0 s3-1 | s5-1 s5-3 | sk-0 d5-2',
    'mp-0 d5-1 | s3-0 sk-2 | s3-1 sk-2 | mp-0 mp-1',
    'Li et al., CVPR 2020, criterion 1, the best of ten',
    *(2.66, 3.7),
  ),
  'SGAS_CRI2': _entry(
    's3-0 s3-1 | s3-0 s3-2 | mp-0 s3-3 | s3-2 s3-3',
    's3-0 mp-1 | d3-0 mp-1 | mp-0 s3-2 | mp-0 s5-2',
    'Li et al., CVPR 2020, criterion 2, the best of ten',
  ),
  'DARTS_MINUS': _entry(
    's3-0 s5-1 | s3-1 d3-2 | sk-1 s3-0 | sk-1 s3-0',
    's3-0 mp-1 | sk-2 mp-0 | sk-2 sk-3 | sk-2 sk-3',
    'Chu et al., ICLR 2021, the best',
    *(2.59, 3.5),
  ),
  'DARTS_PT': _entry(
    's3-0 s3-1 | s3-0 s3-1 | sk-0 sk-2 | s3-1 sk-3',
    'ap-0 s5-1 | mp-1 sk-2 | d5-1 mp-3 | s5-2 sk-3',
    'Wang et al., ICLR 2021, run 3',
    *(2.61, 3.0),
  ),
}


def read(fields: Mapping[str, Any]) -> space.Genotype | nasbench201.Genotype:
  """A genotype from the fields of its file, in which it is not yet checked.

  Raises:
    ValueError, KeyError, TypeError: they are not a genotype's.
  """
  return SPACES[fields['space']].genotype.read(fields)


def find(name: str) -> space.Genotype | nasbench201.Genotype:
  """The genotype that a name, a path or NAS-Bench-201 gives.

  Args:
    name: of a published cell; or the path of a genotype.json; or an
      architecture string or an index of NAS-Bench-201.

  Raises:
    BadInput: there is none, or it is no genotype.
  """
  if name.isdecimal():
    return nasbench201.of(nasbench201.cell(int(name)))
  if name.startswith('|'):
    return nasbench201.of(nasbench201.parse(name))
  if not name.endswith('.json'):
    errors.pick('genotype', name, CELLS)
    return CELLS[name].genotype
  try:
    genotype = read(json.loads(pathlib.Path(name).read_text()))
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.BadInput(
      f'{name} is not a genotype ({type(error).__name__}: {error}): give a '
      f'genotype.json that a search wrote, or one of {", ".join(CELLS)}'
    ) from error
  if isinstance(genotype, space.Genotype):  # a string is right once read
    _check(genotype, name)
  return genotype


def _check(genotype, path):
  """Refuses cells that cannot be made into a network."""
  names, count = [*genotype.graphs], len(genotype.cells)
  if names not in (['normal', 'reduce'], [f'cell{n}' for n in range(count)]):
    raise errors.BadInput(
      f'{path} has the cells {", ".join(names) or "none"}: name them normal '
      'and reduce, or, one for each cell of the network, cell0, cell1, ...'
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
  for _, source, node in graph.edges:
    if not 0 <= source < node:
      told = f'feeds node {node} from node {source}, which is not before it'
      yield f'{told}: choose one from 0 to {node - 1}'
  if not graph.fed:
    yield 'has no node with inputs: give it an operation'
  if not outputs or not 0 <= min(outputs) <= max(outputs) <= last:
    told = f'concatenates {list(outputs)}, but its nodes are 0 to {last}'
    yield f'{told}: choose among these'
  if halves and min(outputs) < graph.inputs:
    yield 'concatenates an input, which is twice as large as its nodes: drop it'
  if not {*range(graph.inputs), *graph.fed}.intersection(outputs):
    yield f'concatenates no node with inputs: choose among {[*graph.fed]}'

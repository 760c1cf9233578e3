"""NAS-Bench-201's space as data: its cells, their strings and their indices.

  >>> from sdnas_jax.spaces import nasbench201
  >>> nasbench201.text(nasbench201.cell(9))
  '|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|'

Dong and Yang, ICLR 2020, section 2.1: of four nodes the first is the input, the
last the output; each but the first sums all before it, each of these through an
operation.
"""

from collections.abc import Mapping
import functools
import random
import re
from typing import Any
from typing import NamedTuple

import numpy as np

from sdnas_jax import errors
from sdnas_jax.spaces import space as spaces

OPERATIONS = (
  'none',
  'skip_connect',
  'nor_conv_1x1',
  'nor_conv_3x3',
  'avg_pool_3x3',
)
KIND = 'cell'  # one kind, and so one alpha table


class Genotype(NamedTuple):
  """An architecture by its string."""

  space: str
  architecture: str

  @classmethod
  def read(cls, fields: Mapping[str, Any]) -> 'Genotype':
    """From the fields of a genotype.json.

    Raises:
      BadInput, KeyError, TypeError: they are not a genotype's.
    """
    return of(parse(str(fields['architecture'])))

  @classmethod
  def strongest(
    cls, space: spaces.Space, mix: Mapping[str, np.ndarray]
  ) -> 'Genotype':
    """Every edge's strongest operation, `none` as any; ties: the first one."""
    own = mix[KIND][:, : len(space.primitives)]
    return of(tuple(space.primitives[k] for k in own.argmax(axis=1)))

  @property
  def fields(self) -> dict[str, str]:
    """What a genotype.json says."""
    return self._asdict()

  @property
  def graphs(self) -> dict[str, spaces.Graph]:
    """The cell, with those of its edges that are `none`."""
    edges = [*zip(EDGES, parse(self.architecture), strict=True)]
    nodes = tuple(
      tuple((name, i) for (i, j), name in edges if j == node)
      for node in SPACE.targets
    )
    return {KIND: spaces.Graph(SPACE.inputs, nodes, SPACE.targets[-1:])}


SPACE = spaces.Space(
  'nasbench201', OPERATIONS, 3, 1, kinds=(KIND,), genotype=Genotype
)
EDGES = SPACE.edges
SIZE = len(OPERATIONS) ** len(EDGES)  # 15,625 cells
FORM = '|op~0|+|op~0|op~1|+|op~0|op~1|op~2|'
_BEFORE = '|', '|+|', '|', '|+|', '|', '|'  # what precedes each edge's name
_NAME = re.compile(r'[^|+~]*')
_CODES = {name: code for code, name in enumerate(OPERATIONS)}
# A cell's number has base 5 and a digit an edge; what the digit counts for.
_PLACES = tuple(len(OPERATIONS) ** k for k in reversed(range(len(EDGES))))

Cell = tuple[str, ...]  # an operation for each of EDGES


def parse(string: str) -> Cell:
  """The cell that an architecture string describes.

  Raises:
    BadInput: it describes none; says at which character it goes wrong.
  """
  found, at = [], 0
  for (source, target), before in zip(EDGES, _BEFORE, strict=True):
    at = _past(string, at, before)
    name = _NAME.match(string, at).group()
    if name not in _CODES:
      where = f'at character {at + 1}, from node {source} to {target},'
      errors.pick(f'operation {where}', name, OPERATIONS)
    at = _past(string, at + len(name), f'~{source}')
    found.append(name)
  at = _past(string, at, '|')
  if at < len(string):
    raise errors.BadInput(
      f'the architecture goes on at character {at + 1} with '
      f'{errors.short(string[at:])}: end it before that, its form is {FORM}'
    )
  return tuple(found)


def of(cell: Cell) -> Genotype:
  """A cell as a genotype.

  Raises:
    BadInput: these are not six known operations.
  """
  return Genotype(SPACE.name, text(cell))


def text(cell: Cell) -> str:
  """The architecture string of a cell.

  Raises:
    BadInput: these are not six known operations.
  """
  _number(cell)
  edges = zip(_BEFORE, cell, EDGES, strict=True)
  return ''.join(f'{b}{name}~{source}' for b, name, (source, _) in edges) + '|'


def index(cell: Cell) -> int:
  """The benchmark's index of a cell, 0 to 15,624.

  Raises:
    BadInput: these are not six known operations.
  """
  return _order()[1][_number(cell)]


def cell(index: int) -> Cell:
  """The cell that has an index of the benchmark.

  Raises:
    BadInput: none has.
  """
  if not 0 <= index < SIZE:
    raise errors.BadInput(
      f'no architecture has the index {index}: give one from 0 to {SIZE - 1}'
    )
  number = _order()[0][index]
  return tuple(OPERATIONS[number // place % 5] for place in _PLACES)


@functools.cache
def neighbours(index: int) -> tuple[int, ...]:
  """The indices of the 24 cells that differ in one edge's operation."""
  numbers, indices = _order()
  number = numbers[index]
  return tuple(
    indices[number + (code - number // place % 5) * place]
    for place in _PLACES
    for code in range(len(OPERATIONS))
    if code != number // place % 5
  )


@functools.cache
def _order() -> tuple[tuple[int, ...], tuple[int, ...]]:
  """The number of the cell at each index, and the index of each number.

  The authors enumerated the cells by their numbers and shuffled that list by
  Python's generator, seeded with 88 (exps/NAS-Bench-201/main.py in their
  AutoDL-Projects).
  """
  numbers = list(range(SIZE))
  random.Random(88).shuffle(numbers)
  return tuple(numbers), tuple(sorted(range(SIZE), key=numbers.__getitem__))


def _number(cell):
  """The cell's digits, one an edge, the first edge's the most significant."""
  if len(cell) != len(EDGES):
    raise errors.BadInput(
      f'a cell has {len(EDGES)} operations, not {len(cell)}: give one an edge'
    )
  number = 0
  for name in cell:
    if name not in _CODES:
      errors.pick('operation', name, OPERATIONS)
    number = len(OPERATIONS) * number + _CODES[name]
  return number


def _past(string, at, mark):
  """Where the string goes on behind a mark that is due."""
  if string.startswith(mark, at):
    return at + len(mark)
  for due in mark:
    found = string[at : at + 1]
    if found != due:
      break
    at += 1
  raise errors.BadInput(
    f'wrong architecture: character {at + 1} should be {due!r}, not '
    f'{repr(found) if found else "the end"}; its form is {FORM}'
  )

"""Other people's architectures: what their texts say, as genotype.json has it.

  >>> from sdnas_jax.spaces import foreign
  >>> foreign.read('(3, 1, 2, 4, 0, 1)')['architecture']
  '|nor_conv_1x1~0|+|none~0|avg_pool_3x3~1|+|nor_conv_3x3~0|...

A text is JSON, or one of the lists below, or it has somewhere, in the lines of
a log or of a program:

- `Genotype(normal=..., normal_concat=...)`, quark0/darts's; DARTSGenotype,
  confopt's; with a list for each node, khanrc/pt.darts's, AutoDL-Projects's;
  with each pair's node between its parts, FairDARTS's
- `{'normal': ..., ...}`, where pairs may have a weight, as AutoDL-Projects logs
- `|op~0|+|op~0|op~1|+...`, or `Structure([...])`, NAS-Bench-201's

The lists: NASLib's compact form of both spaces (`conversions.py` of its
nasbench301 and nasbench201), and what AutoDL-Projects's Structure takes.

Nothing is executed: of Python, literals are read, `range` and a few names.
"""

import ast
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import json
import re
from typing import Any
import warnings

from sdnas_jax import errors
from sdnas_jax.spaces import darts
from sdnas_jax.spaces import nasbench201

MOST = 200  # parts of a cell
LARGEST = 20_000  # characters of an architecture, twice what so many take
FIELDS = 'normal', 'normal_concat', 'reduce', 'reduce_concat'
CELL = re.compile(r'normal|reduce|cell\d+')
# NASLib's numbers stand for these; its edges are sorted by their sources.
COMPACT = darts.SPACE.primitives[1:]
INDEXED = (
  *('skip_connect', 'none', 'nor_conv_3x3', 'nor_conv_1x1', 'avg_pool_3x3'),
)
EDGES = sorted(nasbench201.EDGES)
# Where an architecture begins in a text, behind its variable if it has one; or
# a line that is a comment.
_BEGIN = re.compile(
  r"""^[^\S\n]* \# .* |
  (?: \b(?P<name>\w+) \s* = \s* ['"]? )?
  (?P<text> \b (?:\w+\.)? \w*Genotype \( \s* (?: normal | [\[(] )
  | \b Structure \( \s* [\[(]
  | \{ \s* ['"]normal['"] \s* :
  | (?P<whole> \|\w+~0\|\+ [\w~|+]* \| )
  )""",
  re.VERBOSE | re.MULTILINE,
)
_ALIAS = re.compile(r'^(\w+) *= *(\w+) *$', re.MULTILINE)
# Brackets, and what may hold some that do not count.
_MARK = re.compile(r"""[()\[\]{}] | '[^'\n]*' | "[^"\n]*" | \#.*""", re.VERBOSE)


def read(text: str, name: str = '') -> Mapping[str, Any]:
  """The fields, as of a genotype.json, of an architecture in any form.

  They are not yet checked. Of several the last counts, as in a log, unless
  they are named.

  Args:
    name: of the variable, where a text has several.

  Raises:
    BadInput: the text has several, and not the one named.
    ValueError, KeyError, TypeError, RecursionError: there is none.
  """
  if not name:
    try:
      value = json.loads(text)
    except (ValueError, RecursionError):
      pass
    else:
      return fields(value)
  found = [*_found(text)]
  if found or name:
    text = _chosen(found, name)
  return fields(text)


def fields(value: Any) -> Mapping[str, Any]:
  """What JSON, a literal or its text says, in the form of a genotype.json.

  Raises:
    ValueError, KeyError, TypeError, RecursionError: it is no architecture.
  """
  match value:
    case str() if value.lstrip().startswith('|'):
      return {'space': 'nasbench201', 'architecture': value.strip()}
    case str():
      return fields(_literal(value))
    case {'genotype': inner}:  # a result.json
      return fields(inner)
    case {'space': _}:
      return value
    case {'architecture': string}:
      return {'space': 'nasbench201', 'architecture': string}
    case Mapping():
      return _cells(value)
    case [int(), int(), int(), int(), int(), int()]:
      names = [_at(INDEXED, k) for k in value]
      return _string([*zip(names, EDGES, strict=True)])
    case [[[int(), int()], *_] as normal, [[int(), int()], *_] as reduce]:
      return _cells({'normal': _named(normal), 'reduce': _named(reduce)})
    case [[*first], [*second], [*third]]:
      nodes = enumerate((first, second, third), 1)
      return _string([(k, (i, j)) for j, node in nodes for k, i in node])
  raise ValueError(f'{errors.short(value)} is in no known form')


def _found(text: str) -> Iterator[tuple[str, str]]:
  """(variable or '', text) of the architectures in a text, in their order."""
  at, known = 0, {}
  while begin := _BEGIN.search(text, at):
    start, at = begin.start('text'), begin.end()
    if begin['text']:
      at = at if begin['whole'] else _end(text, start)
      known[begin['name']] = text[start:at]
      yield begin['name'] or '', text[start:at]
  for name, other in _ALIAS.findall(text):
    if other in known:
      yield name, known[other]


def _end(text, start):
  """Where the bracket that a text opens first is closed."""
  depth = 0
  for mark in _MARK.finditer(text, start, start + LARGEST):
    depth += (mark[0] in '([{') - (mark[0] in ')]}')
    if not depth and mark[0] in ')]}':
      return mark.end()
  told = errors.short(text[start : start + 99])
  raise ValueError(f'{told} does not end within {LARGEST} characters')


def _chosen(found, name):
  """The text that a name chooses, or the only one, or a log's last."""
  names = dict.fromkeys(n for n, _ in found if n not in ('', 'genotype'))
  own = [text for other, text in found if name in ('', other)]
  if own and (name or len(names) < 2):
    return own[-1]
  if not names:
    raise errors.BadInput(f'it has none with a name: drop :{errors.cut(name)}')
  what = f'no {errors.short(name)}' if name else 'several architectures'
  told = errors.cut(', '.join(names), 600)
  raise errors.BadInput(
    f'it has {what}: name one behind the path, as in path:NAME, of {told}'
  )


def _literal(text):
  """The value of a Python expression of literals."""
  if len(text) > LARGEST:
    raise ValueError('it has no Genotype(...), no architecture string, no JSON')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of code that is refused anyway
      return _value(ast.parse(text.strip(), mode='eval').body)
  except (SyntaxError, MemoryError) as error:  # such is too deep a nesting
    raise ValueError(f'it has no architecture ({error})') from error


def _value(node):
  """What a literal's node stands for; its tuples become lists."""
  match node:
    case ast.Constant(str() | int() | float() | None as value):
      return value
    case ast.Tuple(items) | ast.List(items):
      return [_value(item) for item in items]
    case ast.Dict(keys, values):
      return dict(zip(map(_value, keys), map(_value, values), strict=True))
    case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
      return -value
    case ast.Call(ast.Name(name) | ast.Attribute(attr=name), args, keywords):
      named = {str(k.arg): _value(k.value) for k in keywords}
      return _called(name, [_value(arg) for arg in args], named)
  raise ValueError(f'{type(node).__name__} is no part of an architecture')


def _called(name, args, named):
  """The value of one of the calls that are understood."""
  if name.endswith('Genotype'):
    return dict(zip(FIELDS, args, strict=False)) | named
  match name, args:
    case 'range', _:
      return [*range(*args)[: MOST + 1]]
    # NumPy 2 prints its numbers so.
    case 'list' | 'tuple' | 'float32' | 'float64' | 'Structure', [value]:
      return value
  raise ValueError(f'{errors.cut(name)}() is no part of an architecture')


def _cells(given):
  """The fields of cells in any of the forms of DARTS's kind."""
  made = {'space': darts.SPACE.name}
  for name in filter(CELL.fullmatch, map(str, given)):
    concat = given.get(f'{name}_concat')
    made[name] = nodes = _nodes(given[name], concat)
    if concat is None:
      count = len(nodes) if isinstance(nodes, Mapping) else len(nodes) // 2
      concat = [*range(2, 2 + count)]
    made[f'{name}_concat'] = concat
  return made


def _nodes(parts, concat):
  """A cell's pairs, two a node in a list, or those of each node by number."""
  if isinstance(parts, Mapping):
    return parts
  if parts and all(isinstance(p, list) for part in parts for p in part):
    nodes = {n: [_pair(p) for p in part] for n, part in enumerate(parts, 2)}
  elif any(map(_placed, parts)):
    last = max([node for _, node, _ in parts] + [*(concat or ())])
    if last > MOST:
      raise ValueError(f'node {last} is one too many')
    nodes = {n: [] for n in range(2, last + 1)}
    for name, node, source in parts:
      nodes[node].append([name, source])
  else:
    return [_pair(part) for part in parts]
  return {str(node): pairs for node, pairs in nodes.items()}


def _placed(part):
  """Whether it is an operation, its node and its source."""
  return isinstance(part, Sequence) and [*map(type, part)] == [str, int, int]


def _pair(part):
  """An operation and its source, of which the weight is dropped."""
  match part:
    case [name, source] | [name, source, float()]:
      return [name, source]
  raise ValueError(f'{errors.short(part)} is no operation and source')


def _named(pairs):
  """NASLib's (source, number of the operation) as pairs."""
  return [[_at(COMPACT, k), source] for source, k in pairs]


def _at(names, number):
  """The name that a number stands for."""
  if isinstance(number, bool) or not 0 <= number < len(names):
    raise ValueError(
      f'{number} is no operation: they are 0 to {len(names) - 1}'
    )
  return names[number]


def _string(edges):
  """The fields of a NAS-Bench-201 cell of (operation, edge); others: none."""
  found = {edge: name for name, edge in edges}
  if len(found) < len(edges) or not {*found} <= {*EDGES}:
    raise ValueError(f'not each edge is one of {EDGES}, and there but once')
  cell = tuple(found.get(edge, 'none') for edge in nasbench201.EDGES)
  return nasbench201.of(cell).fields

"""An architecture in the forms that other programs read.

  python -m sdnas_jax.spaces.convert log.txt --to=darts --name=FOUND

It reads whatever `config.genotype` may be; `FORMS` are what it writes:

- json: a genotype.json
- darts: `Genotype(...)`, a line for quark0/darts's genotypes.py
- confopt: `DARTSGenotype(...)`, as in confopt's genotype.txt
- naslib: NASLib's compact tuples of (source, number of the operation), or its
  numbers of a NAS-Bench-201 cell's operations
- string: NAS-Bench-201's `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`
- structure: the list that AutoDL-Projects's Structure takes
"""

import argparse
from collections.abc import Callable
import json
import keyword
import pathlib
import sys

from sdnas_jax import errors
from sdnas_jax.spaces import foreign
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space

Genotype = space.Genotype | nasbench201.Genotype
NODES = 2, 3, 4, 5  # NASLib's


def as_json(genotype: Genotype) -> str:
  """This package's own form, which holds all there are."""
  return json.dumps(genotype.fields)


def darts(genotype: Genotype) -> str:
  """PyTorch DARTS's Genotype, a line for each cell's pairs.

  Raises:
    BadInput: it is another kind of cell, or a node has not two inputs.
  """
  lines = (f'  {part},\n' for part in _parts(genotype, 'darts'))
  return f'Genotype(\n{"".join(lines)})'


def confopt(genotype: Genotype) -> str:
  """Its DARTSGenotype, in one line, or a NAS-Bench-201 cell's string.

  Raises:
    BadInput: as of `darts`.
  """
  if isinstance(genotype, nasbench201.Genotype):
    return genotype.architecture
  return f'DARTSGenotype({", ".join(_parts(genotype, "confopt"))})'


def naslib(genotype: Genotype) -> str:
  """Tuples of numbers: of a normal and a reduction cell, or of six edges.

  Raises:
    BadInput: it is none of a cell's seven operations, or not of four nodes, all
      of which are concatenated; or as of `darts`.
  """
  if isinstance(genotype, nasbench201.Genotype):
    names = dict(_edges(genotype))
    return repr(tuple(foreign.INDEXED.index(names[e]) for e in foreign.EDGES))
  made = []
  for name, cell in _cells(genotype, 'naslib').items():
    if cell.outputs != NODES or len(cell.nodes) != len(NODES):
      _refuse(name, f'does not concatenate the nodes {NODES} it has', 'naslib')
    for kind, _, node in cell.edges:
      if kind not in foreign.COMPACT:
        _refuse(name, f'has {kind} at node {node}', 'naslib')
    pairs = sum(cell.nodes, ())
    made.append(tuple((i, foreign.COMPACT.index(kind)) for kind, i in pairs))
  return repr(tuple(made))


def string(genotype: Genotype) -> str:
  """NAS-Bench-201's.

  Raises:
    BadInput: it is no cell of that space.
  """
  _edges(genotype)
  return genotype.architecture


def structure(genotype: Genotype) -> str:
  """A list of each node's (operation, source).

  Raises:
    BadInput: it is no cell of that space.
  """
  edges = _edges(genotype)
  nodes = nasbench201.SPACE.targets
  return repr(
    [tuple((k, i) for (i, j), k in edges if j == node) for node in nodes]
  )


FORMS: dict[str, Callable[[Genotype], str]] = {
  'json': as_json,
  'darts': darts,
  'confopt': confopt,
  'naslib': naslib,
  'string': string,
  'structure': structure,
}


def _edges(genotype):
  """The (edge, operation) of a NAS-Bench-201 cell."""
  if not isinstance(genotype, nasbench201.Genotype):
    raise errors.BadInput(
      'string and structure hold cells of NAS-Bench-201, which this is not: '
      'choose json, darts, confopt or naslib'
    )
  cell = nasbench201.parse(genotype.architecture)
  return [*zip(nasbench201.EDGES, cell, strict=True)]


def _cells(genotype, form):
  """A normal and a reduction cell whose nodes have two inputs each."""
  cells = genotype.graphs
  if [*cells] != ['normal', 'reduce']:
    raise errors.BadInput(
      f'{form} holds a normal and a reduction cell, not {", ".join(cells)}: '
      'choose json'
    )
  for name, cell in cells.items():
    for node, pairs in enumerate(cell.nodes, cell.inputs):
      if len(pairs) != 2:
        _refuse(name, f'has {len(pairs)} inputs at node {node}, not two', form)
  return cells


def _parts(genotype, form):
  """The arguments of a call of Genotype."""
  for name, cell in _cells(genotype, form).items():
    yield f'{name}={[*sum(cell.nodes, ())]}'
    yield f'{name}_concat={[*cell.outputs]}'


def _refuse(name, what, form):
  raise errors.BadInput(
    f'the {space.title(name)} {what}, which {form} cannot hold: choose json'
  )


def main(argv: list[str]) -> int:
  """Prints or writes a form; returns the exit code, 2 for what cannot be."""
  parser = argparse.ArgumentParser(
    prog='python -m sdnas_jax.spaces.convert',
    description='Writes an architecture in the form of another program.',
  )
  parser.add_argument('which', help='what config.genotype may be')
  parser.add_argument('--to', choices=FORMS, default='json')
  parser.add_argument('--name', help='of the variable that it is assigned to')
  parser.add_argument('--out', type=pathlib.Path, help='a file to write')
  args = parser.parse_args(argv)
  try:
    text = FORMS[args.to](published.find(args.which)) + '\n'
    if args.name:
      text = f'{_variable(args.name, args.to)} = {text}'
    if args.out:
      args.out.write_text(text)
    else:
      print(text, end='')
  except (errors.BadInput, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


def _variable(name, form):
  """A name that Python and this package's reader assign a Genotype to."""
  usable = name.isidentifier() and not keyword.iskeyword(name)
  if form not in ('darts', 'confopt') or not usable:
    raise errors.BadInput(
      f'{form} cannot be assigned to {errors.short(name)}: drop --name'
    )
  return name


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))

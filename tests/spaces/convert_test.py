"""What is written in another program's form is read back, or refused."""

import ast
import collections
import json
import pathlib
import re
import shlex

import hypothesis
from hypothesis import strategies as st
import pytest

from sdnas_jax import errors
from sdnas_jax.spaces import convert
from sdnas_jax.spaces import foreign
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from tests import random_cells
from tests.spaces import foreign_test

# As quark0/darts's cnn/genotypes.py has it.
Genotype = collections.namedtuple(
  'Genotype', 'normal normal_concat reduce reduce_concat'
)
SEVEN = tuple(k for k in random_cells.OPERATIONS if k in foreign.COMPACT)


def back(genotype, form):
  return published.find(convert.FORMS[form](genotype))


@pytest.mark.parametrize('name', published.CELLS)
def test_published_cells_go_through_each_form(name):
  genotype = published.CELLS[name].genotype
  assert back(genotype, 'json') == genotype
  for form in ('darts', 'confopt', 'naslib'):
    if form == 'naslib' and name in ('NASNet', 'AmoebaNet'):
      continue
    nodes = [pairs for _, cell in genotype.cells for pairs in cell.nodes]
    if any(len(pairs) != 2 for pairs in nodes):
      with pytest.raises(errors.BadInput, match='choose json'):
        back(genotype, form)
    else:  # which say nothing of the space
      assert back(genotype, form).cells == genotype.cells
  for form in ('string', 'structure'):
    with pytest.raises(errors.BadInput, match='choose json, darts, confopt'):
      back(genotype, form)


@hypothesis.given(st.integers(0, nasbench201.SIZE - 1))
def test_cells_of_nas_bench_201_go_through_each_form(index):
  genotype = nasbench201.of(nasbench201.cell(index))
  for form in ('json', 'confopt', 'naslib', 'string', 'structure'):
    assert back(genotype, form) == genotype
  with pytest.raises(errors.BadInput, match='normal and a reduction cell'):
    back(genotype, 'darts')


def test_numbers_and_structure_by_hand():
  cell = ('nor_conv_1x1', 'none', 'skip_connect') + ('avg_pool_3x3',) * 3
  genotype = nasbench201.of(cell)
  # The edges from node 0, from 1, from 2.
  assert convert.naslib(genotype) == '(3, 1, 4, 0, 4, 4)'
  nodes = ast.literal_eval(convert.structure(genotype))
  assert nodes[:2] == [
    (('nor_conv_1x1', 0),),
    (('none', 0), ('skip_connect', 1)),
  ]


@st.composite
def usual(draw, kinds=random_cells.OPERATIONS, least=1, most=6):
  """Two cells of two pairs a node, as DARTS has them."""
  cells, count = [], draw(st.integers(least, most))
  for name in ('normal', 'reduce'):
    pairs = []
    for node in range(2, 2 + count):
      pair = st.tuples(st.sampled_from(kinds), st.integers(0, node - 1))
      pairs += [draw(pair), draw(pair)]
    pairs[0] = ('skip_connect', 0)  # alive
    cells.append((name, spaces.paired(pairs, range(2, 2 + count))))
  return spaces.Genotype('darts', tuple(cells))


@hypothesis.given(usual())
def test_darts_s_form_evaluates_to_the_cell(genotype):
  text = convert.darts(genotype)
  made = eval(text, {'Genotype': Genotype})
  for name, cell in genotype.cells:
    assert getattr(made, name) == [(k, i) for k, i, _ in cell.edges]
    assert getattr(made, f'{name}_concat') == [*cell.outputs]
  made = eval(convert.confopt(genotype), {'DARTSGenotype': Genotype})
  assert made == eval(text, {'Genotype': Genotype})
  for form in ('json', 'darts', 'confopt'):
    assert back(genotype, form) == genotype


@hypothesis.given(usual(SEVEN, 4, 4))
def test_naslib_s_form_goes_back_and_forth(genotype):
  assert back(genotype, 'naslib') == genotype
  normal, _ = ast.literal_eval(convert.naslib(genotype))
  expected = genotype.graphs['normal'].edges
  assert [(SEVEN[k], i) for i, k in normal] == [(k, i) for k, i, _ in expected]


@hypothesis.given(random_cells.genotypes())
def test_what_a_form_cannot_hold_is_refused(genotype):
  assert back(genotype, 'json') == genotype
  for form in ('darts', 'confopt', 'naslib'):
    try:
      assert back(genotype, form) == genotype
    except errors.BadInput as error:
      assert f'{form} ' in str(error) and 'choose json' in str(error)


@pytest.mark.parametrize(
  'change, form, says',
  [
    ({'normal': {'2': [['skip_connect', 0]] * 3}}, 'darts', 'has 3 inputs at'),
    ({'normal': [['none', 0], ['skip_connect', 0]]}, 'naslib', 'has none at'),
    ({}, 'naslib', 'does not concatenate'),
  ],
)
def test_refusals(change, form, says):
  pairs = [['sep_conv_3x3', 0], ['skip_connect', 1]]
  cells = {'normal': pairs, 'reduce': pairs} | change
  if form == 'naslib' and change:
    cells['normal'] = [*cells['normal'], *pairs * 3]
  genotype = published.find(json.dumps(cells))
  with pytest.raises(errors.BadInput, match=f'normal cell {says}'):
    convert.FORMS[form](genotype)


def test_the_command(tmp_path, capsys):
  file = tmp_path / 'genotypes.py'
  names = 'PDARTS', 'DARTS_V2'
  for name in names:
    given = [name, '--to=darts', f'--name={name}', f'--out={tmp_path / name}']
    assert convert.main(given) == 0
  file.write_text(''.join((tmp_path / name).read_text() for name in names))
  assert convert.main([f'{file}:PDARTS']) == 0
  fields = json.loads(capsys.readouterr().out)
  assert published.read(fields) == published.CELLS['PDARTS'].genotype


def test_the_commands_of_the_docs(tmp_path, monkeypatch, capsys):
  docs = pathlib.Path(__file__).parents[2] / 'docs' / 'export.md'
  commands = re.findall(r'^python -m sdnas_jax.spaces.convert (.*)$',
                        docs.read_text(), re.MULTILINE)  # fmt: skip
  assert len(commands) == 6
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'runs' / 'cifar').mkdir(parents=True)
  text = convert.as_json(published.find('DARTS_V2'))
  (tmp_path / 'runs' / 'cifar' / 'genotype.json').write_text(text)
  (tmp_path / 'genotypes.py').write_text(foreign_test.PROGRAM)
  (tmp_path / 'log.txt').write_text(foreign_test.LOG)
  for command in commands:
    assert convert.main(shlex.split(command)) == 0, capsys.readouterr().err
  for name in ('genotype.json', 'genotype.txt'):
    assert published.find(name) == published.find('log.txt')
  assert capsys.readouterr().out.startswith('FOUND = Genotype(')


@pytest.mark.parametrize(
  'given, says',
  [
    (['DARTS_V3'], 'did you mean DARTS_V2'),
    (['DARTS_V2', '--name=x'], 'json cannot be assigned'),
    (['DARTS_V2', '--to=darts', '--name=class'], "to 'class': drop --name"),
    (['5', '--to=darts'], 'choose json'),
    (['DARTS_V2', '--out=/nowhere/else'], 'No such file'),
  ],
)
def test_the_command_refuses_in_a_sentence(capsys, given, says):
  assert convert.main(given) == 2
  told = capsys.readouterr().err
  assert told.startswith('error: ') and says in told and told.count('\n') == 1

"""The published cells are cells, and a file that is none is refused."""

import contextlib
import json
import os
import random
import re

import pytest

from sdnas_jax import errors
from sdnas_jax.spaces import published


@pytest.mark.parametrize('name', [*published.CELLS, '0', '9930'])
def test_a_published_cell_goes_through_a_file(name, tmp_path):
  genotype = published.find(name)
  file = tmp_path / 'genotype.json'
  file.write_text(json.dumps(genotype.fields))
  assert published.find(str(file)) == genotype


def test_darts_v2_by_hand():
  cells = published.CELLS['DARTS_V2'].genotype.graphs
  assert cells['normal'].nodes[2:] == (
    (('sep_conv_3x3', 1), ('skip_connect', 0)),
    (('skip_connect', 0), ('dil_conv_3x3', 2)),
  )
  pools = ('max_pool_3x3', 0), ('max_pool_3x3', 1)
  assert cells['reduce'].nodes[0] == pools


@pytest.mark.parametrize(
  'change, says',
  [
    (
      {'normal': [['sep_conv_4x4', 0], ['skip_connect', 1]]},
      "operation at node 2 of the normal cell .* 'sep_conv_4x4': did you mean",
    ),
    ({'normal': [['skip_connect', 0], ['skip_connect', 2]]}, 'from node 2'),
    ({'reduce': [['skip_connect', 0]]}, 'two a node'),
    ({'reduce': []}, 'reduce cell .* no node with inputs: give it an oper'),
    ({'reduce': [['none', 0], ['none', 1]] * 4}, 'no node with inputs'),
    ({'normal_concat': [2, 6]}, 'nodes are 0 to 5'),
    ({'normal_concat': []}, 'nodes are 0 to 5'),
    ({'reduce_concat': [1, 3]}, 'twice as large'),
    (
      {'cell0': [], 'cell0_concat': []},
      'the cells cell0, normal, reduce: name',
    ),
    ({'normal': {'2': [['skip_connect', 0]], '4': []}}, 'nodes 2, 4 are not 2'),
    ({'normal': {'0': [['skip_connect', 0]]}}, 'nodes 0 are not 2: number'),
    ({'normal': {'2': [['skip_connect', 2]]}}, 'not before it: .* 0 to 1'),
    (
      {
        'normal': {'2': [['skip_connect', 0]], '3': [], '4': []},
        'normal_concat': [3, 4],
      },
      r'concatenates no node with inputs: choose among \[2\]',
    ),
    ({'normal': 7}, 'is not a genotype'),
    ({'normal': [[1]]}, 'is not a genotype'),
  ],
)
def test_a_cell_that_is_none_is_refused_with_the_fault(tmp_path, change, says):
  fields = published.CELLS['DARTS_V2'].genotype.fields | change
  file = tmp_path / 'genotype.json'
  file.write_text(json.dumps(fields))
  with pytest.raises(errors.BadInput, match=says):
    published.find(str(file))


def cells(count, reduction):
  """A file of so many cells: nodes of 1, 0 and 3 pairs, and one of these."""
  nodes = {'2': [['skip_connect', 0]], '3': [], '4': [['sep_conv_3x3', 1]] * 3}
  fields = {'space': 'darts'}
  for n in range(count):
    outputs = [1, 4] if n == reduction else [2, 4]
    fields |= {f'cell{n}': nodes, f'cell{n}_concat': outputs}
  return fields


def test_a_file_may_have_a_graph_for_each_cell(tmp_path):
  file = tmp_path / 'genotype.json'
  # Cells 3 and 7 of 11 are the reductions; the others may join an input.
  for reduction in (-1, 0, 2, 10):
    file.write_text(json.dumps(cells(11, reduction)))
    found = published.find(str(file))
    assert list(found.graphs) == [f'cell{n}' for n in range(11)]
    file.write_text(json.dumps(found.fields))
    assert published.find(str(file)) == found
  file.write_text(json.dumps(cells(11, 7)))
  with pytest.raises(errors.BadInput, match=r'cell7 of .* twice as large'):
    published.find(str(file))


@pytest.mark.parametrize(
  'gone, says',
  [
    ('cell1_concat', 'has the cells cell0, cell2: name them normal and reduce'),
    ('cell1', 'is not a genotype'),
    ('cell.*', 'has the cells none: name them normal'),
  ],
)
def test_every_cell_must_be_there(tmp_path, gone, says):
  fields = cells(3, -1)
  fields = {k: v for k, v in fields.items() if not re.fullmatch(gone, k)}
  file = tmp_path / 'genotype.json'
  file.write_text(json.dumps(fields))
  with pytest.raises(errors.BadInput, match=says):
    published.find(str(file))


@pytest.mark.parametrize('name', ['DARTS_V3', 'nowhere.json'])
def test_what_is_not_there_is_refused(name):
  with pytest.raises(errors.BadInput, match='DARTS_V2'):
    published.find(name)


def test_half_a_file_is_refused(tmp_path):
  file = tmp_path / 'genotype.json'
  file.write_text('{"space": "darts", ')
  with pytest.raises(errors.BadInput, match='is not a genotype'):
    published.find(str(file))


def test_an_index_is_the_architecture_of_its_string(tmp_path):
  found = published.find('1835')
  skip = '|skip_connect~0|+|skip_connect~0|skip_connect~1|+'
  skip += '|skip_connect~0|skip_connect~1|skip_connect~2|'
  assert found == published.find(skip) == ('nasbench201', skip)
  file = tmp_path / 'genotype.json'
  file.write_text(json.dumps({'space': 'nasbench201', 'architecture': skip}))
  assert published.find(str(file)) == found


@pytest.mark.parametrize(
  'architecture, says',
  [
    ('|skip_conect~0|', 'did you mean skip_connect'),
    (5, 'should be'),
    ([], 'should'),
  ],
)
def test_a_wrong_string_in_a_file_is_refused(tmp_path, architecture, says):
  file = tmp_path / 'genotype.json'
  fields = {'space': 'nasbench201', 'architecture': architecture}
  file.write_text(json.dumps(fields))
  with pytest.raises(errors.BadInput, match=says):
    published.find(str(file))


@pytest.mark.parametrize('name', ['15625', '|none~0|'])
def test_no_architecture_of_the_benchmark(name):
  with pytest.raises(errors.BadInput):
    published.find(name)


@pytest.mark.parametrize(
  'change, says',
  [
    ({'normal': [['skip_connect', 0.5], ['skip_connect', 1]]}, 'integer'),
    (
      {'normal': [['skip_connect', True], ['skip_connect', 0]]},
      'True is no nod',
    ),
    ({'normal': [['skip_connect', '1'], ['skip_connect', 0]]}, 'integer'),
    ({'normal': [['skip_connect', 1e400], ['skip_connect', 0]]}, 'integer'),
    ({'normal': ['s0', 's1']}, 'integer'),
    ({'normal': [[5, 0], [5, 1]]}, '5 is no operation'),
    ({'normal_concat': [2, float('inf')]}, 'integer'),
    ({'normal_concat': [True, 3]}, 'True is no node'),
    ({'normal_concat': '23'}, 'integer'),
    ({'normal_concat': [2] * 1000}, 'more than 200 nodes, edges and outputs'),
    ({'normal': [['skip_connect', 0]] * 1000}, 'more than 200 nodes'),
    ({'normal_concat': [2] * 500_000}, 'more than 1000000 bytes'),
    ({'space': []}, 'is not a genotype'),
  ],
)
def test_numbers_that_are_no_nodes(tmp_path, change, says):
  file = tmp_path / 'genotype.json'
  fields = published.CELLS['DARTS_V2'].genotype.fields
  file.write_text(json.dumps(fields | change))
  with pytest.raises(errors.BadInput, match=says):
    published.find(str(file))


@pytest.mark.parametrize(
  'text',
  ['[' * 100_000, '{"space":' * 5000, '1' * 5000, '\ud800', '\xff', 'NaN'],
)
def test_texts_that_are_no_genotype(tmp_path, text):
  file = tmp_path / 'genotype.json'
  file.write_text(text, encoding='latin-1', errors='replace')
  with pytest.raises(errors.BadInput, match='is not a genotype'):
    published.find(str(file))


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
  make(tmp_path / 'genotype.json')
  with pytest.raises(errors.BadInput, match='no file'):
    published.find(str(tmp_path / 'genotype.json'))


ODD = (
  *(
    None,
    True,
    False,
    -1,
    0,
    2,
    0.5,
    1e308,
    10**30,
    float('inf'),
    float('nan'),
  ),
  *('', 'none', 'skip_connect', 'normal', '2', 'x' * 999, '|none~0|', '\n'),
  *([], {}, [[]], [0], {'2': []}, [['none', 0]], {'space': 'darts'}),
)


def places(value, found):
  """Every list and dict of a JSON value."""
  if isinstance(value, list | dict):
    found.append(value)
    inner = value if isinstance(value, list) else value.values()
    for one in [*inner]:
      places(one, found)
  return found


def mutated(rng, fields):
  """Some fields with one to three things put in, dropped or doubled."""
  made = json.loads(json.dumps(fields))
  for _ in range(rng.randint(1, 3)):
    at = rng.choice(places(made, []))
    odd = rng.choice([*ODD, made])
    odd = json.loads(json.dumps(odd))
    keys = [*range(len(at))] if isinstance(at, list) else [*at]
    key = rng.choice(keys or [0])
    if isinstance(at, list) and (not at or rng.random() < 0.2):
      at.insert(key, odd)
    elif at and rng.random() < 0.2:
      del at[key]
    elif isinstance(at, dict) and rng.random() < 0.2:
      at[rng.choice(['cell0', 'cell0_concat', '3', 'space', ''])] = odd
    else:
      at[key if isinstance(at, list) else str(key)] = odd
  return made


@pytest.mark.parametrize('seed', range(3))
def test_any_file_is_a_genotype_or_refused(tmp_path, seed):
  rng, file = random.Random(seed), tmp_path / 'genotype.json'
  usual = [published.CELLS[n].genotype.fields for n in ('DARTS_V2', 'PDARTS')]
  usual += [cells(2, -1), published.find('5').fields]
  for _ in range(100):
    fields = mutated(rng, rng.choice(usual))
    with contextlib.suppress(ValueError, KeyError, TypeError):
      published.read(fields)
    text = json.dumps(fields)
    if rng.random() < 0.2:
      at = rng.randrange(len(text))
      text = (
        text[:at] + rng.choice(['', '[', '"', '\\', '1e999']) + text[at + 1 :]
      )
    file.write_text(text)
    try:
      found = published.find(str(file))
    except errors.BadInput as error:
      assert len(str(error)) < 3000
      continue
    file.write_text(json.dumps(found.fields))
    assert published.find(str(file)) == found
    for graph in found.graphs.values():
      numbers = [n for _, *edge in graph.edges for n in edge] + [*graph.outputs]
      assert all(type(number) is int for number in numbers)

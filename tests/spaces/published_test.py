"""The published cells are cells, and a file that is none is refused."""

import json

import pytest

from sdnas_jax import errors
from sdnas_jax.spaces import published


@pytest.mark.parametrize('name', [*published.CELLS, '0', '9930'])
def test_a_published_cell_goes_through_a_file(name, tmp_path):
  genotype = published.find(name)
  file = tmp_path / 'genotype.json'
  file.write_text(json.dumps(genotype._asdict()))
  assert published.find(str(file)) == genotype


def test_darts_v2_by_hand():
  cell = published.CELLS['DARTS_V2'].genotype
  assert cell.normal[4:] == (
    ('sep_conv_3x3', 1),
    ('skip_connect', 0),
    ('skip_connect', 0),
    ('dil_conv_3x3', 2),
  )
  assert cell.reduce[:2] == (('max_pool_3x3', 0), ('max_pool_3x3', 1))


@pytest.mark.parametrize(
  'change, says',
  [
    ({'normal': [['sep_conv_4x4', 0], ['skip_connect', 1]]}, 'sep_conv_4x4'),
    ({'normal': [['skip_connect', 0], ['skip_connect', 2]]}, 'from node 2'),
    ({'reduce': [['skip_connect', 0]]}, 'two a node'),
    ({'reduce': []}, 'two a node'),
    ({'normal_concat': [2, 6]}, 'nodes are 0 to 5'),
    ({'normal_concat': []}, 'nodes are 0 to 5'),
    ({'reduce_concat': [1, 3]}, 'twice as large'),
    ({'normal': 7}, 'is not a genotype'),
    ({'normal': [[1]]}, 'is not a genotype'),
  ],
)
def test_a_cell_that_is_none_is_refused_with_the_fault(tmp_path, change, says):
  fields = published.CELLS['DARTS_V2'].genotype._asdict() | change
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

"""Architectures as other programs write them, and texts that have none."""

import json
import time

import hypothesis
from hypothesis import strategies as st
import pytest

from sdnas_jax import errors
from sdnas_jax.spaces import foreign
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import published

DARTS = published.CELLS['DARTS_V2'].genotype
PDARTS = published.CELLS['PDARTS'].genotype
# quark0/darts, cnn/genotypes.py: its form, blanks and comments.
PROGRAM = """from collections import namedtuple

Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')

PRIMITIVES = ['none', 'max_pool_3x3']

# OLD = Genotype(normal=[('sep_conv_3x3', 0)], normal_concat=[
DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
  ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1),
  ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
  normal_concat=[2, 3, 4, 5], reduce=[
    ('max_pool_3x3', 0), # a comment (with a bracket
    ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
    ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2),
    ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])
PDARTS = Genotype(
  normal = [('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0),
    ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3),
    ('sep_conv_3x3', 0), ('dil_conv_5x5', 4)],
  normal_concat = range(2, 6),
  reduce = [('avg_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_3x3', 0),
    ('dil_conv_5x5', 2), ('max_pool_3x3', 0), ('dil_conv_3x3', 1),
    ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)],
  reduce_concat = list(range(2, 6)))

DARTS = DARTS_V2
"""
CELL = "[('sep_conv_3x3', 0), ('skip_connect', 1)]"


def call(normal=CELL, reduce=CELL, concat='range(2, 3)', name='Genotype'):
  return (
    f'{name}(normal={normal}, normal_concat={concat}, '
    f'reduce={reduce}, reduce_concat={concat})'
  )


LOG = f"""11/30 08:00:01 AM It's epoch 0 lr 2.5e-02
11/30 08:00:02 AM genotype = {call("[('none', 0), ('none', 1)]")}
11/30 08:00:03 AM train (000 4.1e+00 # 12.5
11/30 08:10:02 AM genotype = {call()}
11/30 08:10:03 AM valid_acc 88.1
"""
NODES = "[[('sep_conv_3x3', 0), ('skip_connect', 1)], [('skip_connect', 2)]]"
NESTED = call(NODES, NODES, 'range(2, 4)')


def find(tmp_path, text, name='', file='any.txt'):
  path = tmp_path / file
  path.write_text(text)
  return published.find(f'{path}:{name}' if name else str(path))


@pytest.mark.parametrize(
  'name, cell', [('DARTS_V2', DARTS), ('DARTS', DARTS), ('PDARTS', PDARTS)]
)
def test_a_name_chooses_of_a_program_s(tmp_path, name, cell):
  assert find(tmp_path, PROGRAM, name) == cell


@pytest.mark.parametrize('name', ['', 'OLD', 'Genotype', 'os.system'])
def test_without_the_name_of_one_they_are_listed(tmp_path, name):
  with pytest.raises(
    errors.BadInput, match='path:NAME, of DARTS_V2, PDARTS, DARTS'
  ):
    find(tmp_path, PROGRAM, name)


def test_one_needs_no_name(tmp_path):
  text = PROGRAM[: PROGRAM.index('PDARTS =')]
  assert find(tmp_path, text) == find(tmp_path, text, 'DARTS_V2') == DARTS
  assert published.find(text[text.rindex('DARTS_V2') :]) == DARTS


def test_of_a_log_the_last_counts(tmp_path):
  found = find(tmp_path, LOG)
  pairs = ('sep_conv_3x3', 0), ('skip_connect', 1)
  assert [g.nodes for _, g in found.cells] == [(pairs,)] * 2
  assert [g.outputs for _, g in found.cells] == [(2,)] * 2
  (tmp_path / 'odd.txt').write_bytes(b'\xff\xfe\n' + LOG.encode())
  assert published.find(str(tmp_path / 'odd.txt')) == found
  with pytest.raises(errors.BadInput, match='has none with a name'):
    find(tmp_path, LOG, 'DARTS')


@pytest.mark.parametrize(
  'text',
  [
    call(name='DARTSGenotype'),  # confopt's genotype.txt
    f'"{call()}"',
    f'arch: gt.{call()}',
    call(concat='tuple(range(2, 3))'),
    call(concat='None'),
    f'Genotype({CELL}, [2], {CELL}, [2])',
    # AutoDL-Projects: genotypes.py, and what its searches print.
    f"Genotype(normal=[{CELL}], normal_concat=[2], reduce=[{CELL}],\n"
    'reduce_concat=[2], connectN=None, connects=None)',
    f"the 001-th epoch : {{'normal': [(('sep_conv_3x3', 0, 0.125), "
    f"('skip_connect', 1, np.float32(0.1)))], 'normal_concat': [2], "
    f"'reduce': [{CELL}], 'reduce_concat': [2]}}",
    # FairDARTS's, of which the second number is the source.
    call("[('sep_conv_3x3', 2, 0), ('skip_connect', 2, 1)]"),
    json.dumps({'normal': [['sep_conv_3x3', 0], ['skip_connect', 1]]} | {
      'reduce': {'2': [['sep_conv_3x3', 0], ['skip_connect', 1]]}}),
    json.dumps({'genotype': call(), 'test_error': 0.1}),
  ],
)  # fmt: skip
def test_forms_of_one_cell(tmp_path, text):
  assert find(tmp_path, text) == published.find(call())


def test_nodes_of_other_counts(tmp_path):
  nodes = [g.nodes for _, g in find(tmp_path, NESTED).cells]
  pairs = ('sep_conv_3x3', 0), ('skip_connect', 1)
  assert nodes[0] == (pairs, (('skip_connect', 2),))
  # FairDARTS_a, whose node 3 has no input.
  fair = "[('sep_conv_3x3', 2, 0), ('sep_conv_5x5', 2, 1), "
  fair += "('max_pool_3x3', 4, 0), ('sep_conv_3x3', 5, 0)]"
  graph = find(tmp_path, call(fair, fair, 'range(2, 6)')).graphs['normal']
  assert list(map(len, graph.nodes)) == [2, 0, 1, 1]
  assert graph.edges[1:] == (
    *(('sep_conv_5x5', 1, 2), ('max_pool_3x3', 0, 4), ('sep_conv_3x3', 0, 5)),
  )


def test_naslib_s_compact_form():
  # Node 5 of the normal cell: skip_connect (2) of 0, dil_conv_3x3 (5) of 2.
  compact = (
    ((0, 3), (1, 3), (0, 3), (1, 3), (1, 3), (0, 2), (0, 2), (2, 5)),
    ((0, 0), (1, 0), (2, 2), (1, 0), (0, 0), (2, 2), (2, 2), (1, 0)),
  )
  assert published.find(str(compact)) == DARTS
  assert published.find(json.dumps(compact)) == DARTS


RESNET = '|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+'
RESNET += '|skip_connect~0|none~1|skip_connect~2|'


@pytest.mark.parametrize(
  'text',
  [
    *(f' {RESNET}\n', f"'{RESNET}'", f'"{RESNET}"', f'  "{RESNET}" '),
    # By source: 0 to 1, 2, 3, then 1 to 2, 3, then 2 to 3.
    *('(2, 1, 0, 2, 1, 0)', '[2, 1, 0, 2, 1, 0]'),
    # AutoDL-Projects's own constant; what is not there is none.
    "Structure([(('nor_conv_3x3', 0),), (('nor_conv_3x3', 1),),\n"
    "  (('skip_connect', 0), ('skip_connect', 2))])  # node-3",
    "[(('nor_conv_3x3', 0),), (('nor_conv_3x3', 1),), "
    "[('skip_connect', 2), ('skip_connect', 0)]]",
    f'best : Structure(4 nodes with {RESNET})',
    f'x = Structure(4 nodes with {RESNET.replace("none", "skip_connect")})\n'
    f'genotype = {RESNET}, accuracy 93.1',
  ],
)  # fmt: skip
def test_cells_of_nas_bench_201(tmp_path, text):
  if text.strip()[0] in '|\'"([':
    assert published.find(text).architecture == RESNET
  found = find(tmp_path, text)
  assert found == nasbench201.of(nasbench201.parse(RESNET))


def test_a_run_s_folder_is_a_genotype(tmp_path):
  result = {'test_error': 0.1, 'genotype': DARTS.fields, 'seed': 0}
  assert find(tmp_path, json.dumps(result), file='result.json') == DARTS
  assert published.find(str(tmp_path)) == DARTS
  find(tmp_path, json.dumps(PDARTS.fields), file='genotype.json')
  assert published.find(str(tmp_path)) == PDARTS


DEEP = (
  *('(' * 9000, '[' * 190 + ']' * 190, '-' * 9000 + '1', 'not ' * 4900 + '1'),
  *('1' + '.a' * 9000, '1' + '+1' * 9000, 'a' + '()' * 9000, 'lambda:' * 2000),
)


@pytest.mark.parametrize(
  'text',
  [
    *DEEP,
    *(call(text) for text in DEEP),
    *('', '\x00', '\ufeff', 'ℵ' * 99, '9' * 9000, '1e999', '1j', '...', '{'),
    *('None', 'True', '[]', '{}', '()', '[1, 2]', '(9, 9, 9, 9, 9, 9)'),
    *('(True, 1, 0, 2, 1, 0)', '[-1, 1, 0, 2, 1, 0]', '"(\'\\\'("', '{**x}'),
    "__import__('os').system('touch pwned')",
    call("__import__('os').system('touch pwned')"),
    call("open('pwned', 'w')"),
    call(concat="[x for x in '23']"),
    call(concat='range(10**30)'),
    call(concat='range(0, 10000000000000000)'),
    call(concat='range(2, 6, 0)'),
    call(concat="range('2')"),
    call(concat='[10000000000]'),
    call('[*x]'),
    call("[('ℵ', 0), ('ℵ', 1)]"),
    call("[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', 10000000000, 0)]"),
    call("[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', -1, 0)]"),
    call("[('sep_conv_3x3', 2, 0), ()]"),
    call("[('sep_conv_3x3', 0, 1, 2)]"),
    call('[[[[]]]]'),
    call('{}'),
    call("'\\N{BULLET}\\d'"),
    call('1if 1else 2'),
    call()[:-1],
    call()[:-40],
    "Genotype(normal=[('",
    'Genotype(normal=' * 50_000,
    'a = ' * 200_000,
    'a' * 900_000,
    'a.' * 400_000,
    ' ' * 900_000,
    '|a~0|+|' * 100_000,
    'Genotype([])' * 80_000,
    '#' * 900_000,
    "{'normal':" * 90_000,
    f'{call()}\n' * 2000 + 'Genotype(normal=[',
    '[((), (), ()), ((), (), ()), ((), (), ())]',
    "[(('none', 0), ('none', 0)), (), ()]",
    "[(('none', 1),), (), ()]",
    '{"genotype": ' * 900 + '1' + '}' * 900,
    '{"genotype": "|none~0|"}',
    '\n'.join(f'A{n} = {call()}' for n in range(5000)),
  ],
)
def test_what_has_no_architecture_ends_in_a_sentence(
  tmp_path, monkeypatch, text
):
  monkeypatch.chdir(tmp_path)
  begun = time.monotonic()
  with pytest.raises(errors.BadInput) as caught:
    find(tmp_path, text)
  with pytest.raises(errors.BadInput):
    published.find(text[:5000])
  assert time.monotonic() - begun < 3
  assert len(str(caught.value)) < 1500 and '\n' not in str(caught.value)
  assert not (tmp_path / 'pwned').exists()


TEXTS = PROGRAM, LOG, NESTED, RESNET, json.dumps(DARTS.fields)
ODD = st.sampled_from([*'()[]{},\'"=|~#\n\\\x00ℵ0:', '[' * 99, 'range', 'None'])


@hypothesis.given(
  text=st.sampled_from(TEXTS), odd=ODD, name=st.sampled_from(['', 'PDARTS']),
  data=st.data(),
)  # fmt: skip
@hypothesis.settings(max_examples=300)
def test_a_damaged_text_is_read_or_refused(text, odd, name, data):
  at = data.draw(st.integers(0, len(text)))
  gone = data.draw(st.sampled_from([0, 1, 9, 10**6]))
  text = text[:at] + odd + text[at + gone :]
  try:
    fields = foreign.read(text, name)
    found = published.read(fields)
  except (ValueError, KeyError, TypeError, RecursionError):
    return
  assert published.read(json.loads(json.dumps(found.fields))) == found

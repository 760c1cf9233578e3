"""The cells of NAS-Bench-201: strings, indices, neighbours, and faults."""

import hashlib
import itertools

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.spaces import nasbench201 as space
from sdnas_jax.spaces import space as spaces

GOOD = (
  '|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|'
  '+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|'
)


def test_the_space_by_hand():
  assert space.EDGES == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
  assert space.SIZE == 15625
  cell = ('nor_conv_3x3',) * 3 + ('skip_connect',) + ('nor_conv_3x3',) * 2
  assert space.parse(GOOD) == cell
  assert space.text(cell) == GOOD
  assert space.index(cell) == 9930
  assert space.cell(1835) == ('skip_connect',) * 6


def test_every_cell_goes_through_its_string_and_its_index():
  every = set()
  for index in range(space.SIZE):
    cell = space.cell(index)
    assert space.parse(space.text(cell)) == cell
    assert space.index(cell) == index
    every.add(cell)
  assert every == set(itertools.product(space.OPERATIONS, repeat=6))


def test_the_order_is_the_benchmark_s():
  # Of the architecture strings of its published table, joined by newlines.
  digest = '83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84'
  strings = '\n'.join(space.text(space.cell(k)) for k in range(space.SIZE))
  assert hashlib.sha256(strings.encode()).hexdigest() == digest


@pytest.mark.parametrize('index', [0, 1835, 9930, 15624])
def test_the_neighbours_are_the_24_cells_one_edge_away(index):
  cell = space.cell(index)
  brute = {
    space.index(other)
    for other in itertools.product(space.OPERATIONS, repeat=6)
    if sum(a != b for a, b in zip(cell, other, strict=True)) == 1
  }
  found = space.neighbours(index)
  assert len(found) == len(brute) == 24 and set(found) == brute


@pytest.mark.parametrize(
  'string, says',
  [
    ('', "character 1 should be '|', not the end"),
    ('nor_conv_3x3~0|', "character 1 should be '|', not 'n'"),
    (GOOD[:-1], "character 95 should be '|', not the end"),
    (GOOD + '+', "goes on at character 96 with '+'"),
    (GOOD + GOOD, 'goes on at character 96 with'),
    (GOOD.replace('+', '', 1), "character 17 should be '+', not '|'"),
    (GOOD.replace('+', ' + ', 1), "character 17 should be '+', not ' '"),
    (GOOD.replace('~0', '~1', 1), "character 15 should be '0', not '1'"),
    (GOOD.replace('~0', ':0', 1), 'operation at character 2, from node 0 to 1'),
    (GOOD.replace('~2', '~3'), "character 94 should be '2', not '3'"),
    (GOOD.replace('|+|', '|', 1), "character 17 should be '+', not 'n'"),
    (GOOD[:16], "character 17 should be '+', not the end"),
    (
      GOOD.replace('skip_connect', 'skip_conect'),
      "at character 51, from node 0 to 3, 'skip_conect': did you mean skip_con",
    ),
    (GOOD.replace('skip_connect', ''), "at character 51, from node 0 to 3, ''"),
    (
      '|none~0|+|none~0|nor_conv_3x4~1|',
      "character 18, from node 1 to 2, 'nor_conv_3x4': did you mean nor_conv_3",
    ),
    ('|NONE~0|', "character 2, from node 0 to 1, 'NONE': did you mean none of"),
    ('|sep_conv_3x3~0|', 'character 2, from node 0 to 1'),
  ],
)
def test_a_wrong_string_is_refused_with_the_place(string, says):
  with pytest.raises(errors.BadInput) as caught:
    space.parse(string)
  assert says in str(caught.value)


def test_what_is_no_cell_is_refused():
  for index in (-1, 15625):
    with pytest.raises(errors.BadInput, match='0 to 15624'):
      space.cell(index)
  for wrong in (space.text, space.index):
    with pytest.raises(errors.BadInput, match='6 operations, not 5'):
      wrong(('none',) * 5)
    with pytest.raises(errors.BadInput, match='did you mean nor_conv_1x1'):
      wrong(('none',) * 5 + ('conv_1x1',))


def test_the_genotype_is_the_argmax_of_every_edge():
  weights = np.array(
    [
      [0.3, 0.2, 0.2, 0.2, 0.1],  # none wins, as any other may
      [0.1, 0.6, 0.1, 0.1, 0.1],
      [0.1, 0.1, 0.6, 0.1, 0.1],
      [0.1, 0.1, 0.1, 0.6, 0.1],
      [0.1, 0.1, 0.1, 0.1, 0.6],
      [0.2, 0.2, 0.2, 0.2, 0.2],  # the first of equals
    ]
  )
  found = spaces.strongest(space.SPACE, {'cell': weights})
  assert found == (
    'nasbench201',
    '|none~0|+|skip_connect~0|nor_conv_1x1~1|'
    '+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|',
  )
  assert found.graphs['cell'] == (
    1,
    (
      (('none', 0),),
      (('skip_connect', 0), ('nor_conv_1x1', 1)),
      (('nor_conv_3x3', 0), ('avg_pool_3x3', 1), ('none', 2)),
    ),
    (3,),
  )


def test_hard_weights_are_one_hot_on_every_edge():
  hard = spaces.hard(space.SPACE, space.of(space.cell(9)))
  expected = np.zeros((6, 5))
  # An operation each of 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2, by hand.
  expected[range(6), [4, 0, 0, 1, 0, 3]] = 1
  np.testing.assert_array_equal(hard['cell'], expected)


@pytest.mark.parametrize('index', range(0, 15625, 625))
def test_a_genotype_goes_through_its_hard_weights(index):
  genotype = space.of(space.cell(index))
  hard = spaces.hard(space.SPACE, genotype)
  assert spaces.strongest(space.SPACE, hard) == genotype

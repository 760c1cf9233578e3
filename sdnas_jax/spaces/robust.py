"""The spaces S1 to S4 of R-DARTS, in which DARTS fails (Zela et al. 2020).

Subsets of DARTS's space in which bad cells are easy to find: S1 has two
operations an edge, the most likely ones of a search of DARTS's, others on each;
S2 a skip and a convolution, S3 `none` besides, S4 the convolution and `noise`,
which is N(0, 1) whatever it is given. The lists are those of the authors' code.
"""

from sdnas_jax.spaces import space

CODES = {
  'mp': 'max_pool_3x3',
  'ap': 'avg_pool_3x3',
  'sk': 'skip_connect',
  's3': 'sep_conv_3x3',
  'd3': 'dil_conv_3x3',
  'd5': 'dil_conv_5x5',
}
# Of the edges in their order, a line for each node.
NORMAL = """
  sk+d3 sk+d5
  sk+d5 sk+s3 sk+d3
  mp+sk sk+s3 sk+s3 sk+d3
  sk+s3 mp+sk sk+d3 d3+d5 d3+d5
"""
REDUCE = """
  mp+ap mp+d3
  mp+ap mp+ap sk+d5
  mp+ap mp+s3 sk+d3 sk+d5
  mp+ap mp+ap sk+d5 sk+d5 sk+d5
"""


def _lists(table):
  edges = (edge.split('+') for edge in table.split())
  return tuple(tuple(CODES[code] for code in edge) for edge in edges)


S1 = space.Space(
  's1', tuple(CODES.values()), own=(_lists(NORMAL), _lists(REDUCE))
)
S2 = space.Space('s2', ('skip_connect', 'sep_conv_3x3'))
S3 = space.Space('s3', ('none', 'skip_connect', 'sep_conv_3x3'))
S4 = space.Space('s4', ('noise', 'sep_conv_3x3'))
SPACES = S1, S2, S3, S4

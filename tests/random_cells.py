"""Graphs and genotypes of DARTS's kind, for Hypothesis to draw."""

from hypothesis import strategies as st

from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces

OPERATIONS = 'none', *published.OPERATIONS.values()


@st.composite
def graphs(draw, alive=False):
  """One to five nodes of up to three pairs; some are `none`, some from none.

  If `alive`, the first node is not, and the cell concatenates it.
  """
  nodes = []
  for node in range(2, 2 + draw(st.integers(1, 5))):
    pair = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, node - 1))
    nodes.append(tuple(draw(st.lists(pair, max_size=3))))
  outputs = draw(st.lists(st.sampled_from(range(2, 2 + len(nodes)))))
  if alive:
    first = draw(st.sampled_from(OPERATIONS[1:])), draw(st.integers(0, 1))
    nodes[0], outputs = (first, *nodes[0]), [*outputs, 2]
  return spaces.Graph(2, tuple(nodes), tuple(dict.fromkeys(outputs)))


@st.composite
def genotypes(draw, cells=(None, 1, 3, 12)):
  """Of cells that a network can be made of: by kind (None), or so many."""
  count = draw(st.sampled_from(cells))
  names = [f'cell{n}' for n in range(count or 0)] or ['normal', 'reduce']
  found = ((name, draw(graphs(alive=True))) for name in names)
  return spaces.Genotype('darts', tuple(found))

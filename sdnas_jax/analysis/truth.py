"""What a genotype reaches when trained, where a table knows it.

>>> from sdnas_jax.spaces import published
>>> truth.row(published.find('1835'), 'cifar10')
{'true_accuracy': 0.542967}
"""

from sdnas_jax.analysis import nasbench201 as table
from sdnas_jax.spaces import nasbench201
from sdnas_jax.spaces import space as spaces


def column(data: str) -> str:
  """Of metrics.csv: it names a data set other than cifar10."""
  known = _dataset(data)
  return 'true_accuracy' + (f'_{_field(known)}' if known != 'cifar10' else '')


def row(
  genotype: spaces.Genotype | nasbench201.Genotype, data: str
) -> dict[str, float]:
  """The test accuracy, in [0, 1], after 200 epochs; {} if no table knows it.

  Args:
    genotype: what a search found.
    data: the data set that it searches; for one that the table lacks, the truth
      is that of cifar10.
  """
  if not isinstance(genotype, nasbench201.Genotype):
    return {}
  scores = getattr(table.query(genotype.architecture), _field(_dataset(data)))
  return {column(data): round(scores.test / 100, 6)}


def optimum(data: str) -> float:
  """The highest one there is."""
  return float(table.column(_dataset(data), 200, 'test').max()) / 100


def note(space: str, data: str) -> str:
  """What a search's `column` is, in a sentence; '' where there is none."""
  if space != nasbench201.SPACE.name:
    return ''
  known = _dataset(data)
  why = '' if known == data else f', for the table has no {data}'
  return f'{column(data)}: after 200 epochs on {known}{why}'


def _dataset(data):
  return data if data in table.DATASETS else 'cifar10'


def _field(known):
  return known.replace('-', '_')

"""A data set: what is known of it before it is loaded, and loading it."""

from collections.abc import Callable
from collections.abc import Mapping
import hashlib
import textwrap
from typing import Any
from typing import NamedTuple

import numpy as np

from sdnas_jax import errors
from sdnas_jax.data import split

ORDERS = 'auto', 'file', 'classes'
# What a part to test on may be called; the first that is there.
TESTS = 'test', 'testing', 'validation', 'valid', 'val'


class Source(NamedTuple):
  """A data set: what is known before loading, and how to."""

  examples: int  # for training
  tests: int  # of the data set's own test split; 0: it has none
  shape: tuple[int, int, int]  # height, width, channels
  classes: int
  mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
  std: tuple[float, ...]
  # 'train' or 'test' -> its images, uint8 [N, *shape], and labels [N].
  load: Callable[[str], tuple[np.ndarray, np.ndarray]] | None
  # Instead, where they are too many to hold: part, first, last, seed to shuffle
  # files by, if any -> a tf.data.Dataset of {'image': JPEG, 'label': integer}.
  stream: Callable[[str, int, int, int | None], Any] | None = None
  own: bool = False  # a user's, of any order: not a benchmark
  note: str = ''  # what its user should know, in lines of 79
  names: tuple[str, ...] = ()  # of the classes, if known

  def noting(self, *sentences: str) -> 'Source':
    """The same with more in its note; a sentence of '' adds nothing."""
    told = [textwrap.fill(sentence, 79) for sentence in sentences if sentence]
    return self._replace(note='\n'.join(filter(None, [self.note, *told])))


def load(
  source: Source,
  examples: int,
  part: str = 'train',
  order: str = 'auto',
) -> tuple[np.ndarray, np.ndarray]:
  """Loads a part's first `examples`, and checks what the source delivers.

  Args:
    order: one of ORDERS: 'file', as they come; 'classes', shuffled so that
      every beginning has its share of every class, and the same in all runs,
      lest one tests on what another has searched on; 'auto', that for a user's
      own data, and for benchmarks the first.

  Raises:
    BadInput: if the images' shape or type, or a label, is not as declared.
  """
  images, labels = source.load(part)
  index = slice(None)
  if order == 'classes' or (order == 'auto' and source.own):
    index = split.stratified(labels, 0)
  images, labels = images[index][:examples], labels[index][:examples]
  if images.dtype != np.uint8 or images.shape != (examples, *source.shape):
    raise errors.BadInput(
      f'the images are {images.dtype} {list(images.shape)}, but uint8 '
      f'{[examples, *source.shape]} was declared: correct the source'
    )
  if labels.shape != (examples,) or labels.dtype.kind not in 'iu':
    raise errors.BadInput(
      f'labels must be integers [{examples}], not {labels.dtype} '
      f'{list(labels.shape)}'
    )
  if labels.min() < 0 or labels.max() >= source.classes:
    raise errors.BadInput(
      f'labels must lie in [0, {source.classes}), but they span '
      f'[{labels.min()}, {labels.max()}]: correct them or the class count'
    )
  return images, labels


def told(source: Source, *parts: tuple[np.ndarray, np.ndarray]) -> dict:
  """What a run records of its data, by which they are known again.

  `parts` are the images and labels that it sees, in its order.
  """
  fields = 'shape', 'classes', 'mean', 'std', 'examples', 'tests', 'names'
  seen = hashlib.blake2b(digest_size=8)
  for x in (x for part in parts for x in part):
    seen.update(f'{x.dtype}{x.shape}'.encode())
    seen.update(np.ascontiguousarray(x))
  found = {name: getattr(source, name) for name in fields}
  return found | {'digest': seen.hexdigest() if parts else ''}


def recalled(fields: Mapping[str, Any]) -> Source:
  """The source of such a record, of which no image can be loaded."""
  known = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
  known.pop('digest')
  return Source(**known, load=None)

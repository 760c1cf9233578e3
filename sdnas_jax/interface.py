"""Search and training from Python: the tasks, as a script or notebook has them.

  >>> import sdnas_jax
  >>> found = sdnas_jax.search(images, labels, method='sd_darts', epochs=10)
  >>> found  # in a notebook, a picture of its cells
  >>> network = found.train(epochs=100)
  >>> network.accuracy
  >>> labels = network.predict(images)
  >>> network.save('network.stablehlo')

A call is a run like that of the command `sdnas`: it starts from a config of
`configs/`, any of whose fields may be given with two underscores for a dot, as
model__channels=8, and leaves a folder with the same files. What a config says
of pixels and epochs is scaled to the images and epochs given. The same call
again resumes a run, or gives back what it came to.
"""

import contextlib
import functools
import hashlib
import html
import json
import os
import pathlib
from typing import Any
from typing import NamedTuple

import jax
from ml_collections import ConfigDict
import numpy as np

from sdnas_jax import errors
from sdnas_jax import experiments
from sdnas_jax import malloc
from sdnas_jax.data import arrays
from sdnas_jax.data import augment
from sdnas_jax.data import dataset
from sdnas_jax.data import sources
from sdnas_jax.data import split
from sdnas_jax.methods import METHODS
from sdnas_jax.report import cells
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder
from sdnas_jax.runs import loop
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import export
from sdnas_jax.tasks import report
from sdnas_jax.tasks import TASKS

Images = np.ndarray | str | os.PathLike
Pair = tuple[np.ndarray, np.ndarray]
ROWS = 256  # images that a network sees at once


def search(
  images: Images,
  labels: np.ndarray | None = None,
  *,
  test: Pair | None = None,
  method: str = 'sd_darts',
  config: str = 'search_cifar',
  workdir: str | os.PathLike | None = None,
  **fields: Any,
) -> 'Found':
  """Searches an architecture for a data set.

  Args:
    images: uint8 [N, height, width, channels]; or instead of arrays a data
      set's name, such as 'digits', or the path of one's own.
    labels: integers [N], from 0 on.
    test: images and labels that only trained networks are tested on; without,
      a fifth of the images is put aside for that.
    method: one of `sdnas --list`; with sd_ before it, self-distillation teaches
      it.
    config: the file of configs/ to start from, or the path of another, which
      may be followed by a colon and what it takes, as 'search_gdas:digits'.
    workdir: the run's folder, by default one in runs/ that is named after the
      method and all that the call gives.
    **fields: of the config, such as epochs=10.

  Raises:
    BadInput: something given cannot be; the message names the fix.
  """
  setting = _config(config, 'search')
  data = _data(images, labels, test, fields)
  base = method.removeprefix('sd_') if isinstance(method, str) else method
  if base not in [*METHODS]:
    errors.pick('method', method, [*METHODS, *map('sd_{}'.format, METHODS)])
  setting.method, setting.distill.weight = base, float(base != method)
  examples = fields.get('data__examples') or data.source.examples - data.held
  setting.data.examples = 0 if data.source.tests else examples
  return Found(_run(setting, data, fields, workdir, method))


def train(
  genotype: Any,
  images: Images,
  labels: np.ndarray | None = None,
  *,
  test: Pair | None = None,
  config: str = 'evaluate_cifar',
  workdir: str | os.PathLike | None = None,
  **fields: Any,
) -> 'Network':
  """Trains a network of some cells from scratch, and tests it.

  Args:
    genotype: a run, one that it has found, or what `config.genotype` takes:
      the name of a published cell, a file, the folder of a run.
    images: as those of `search`, as is the rest.
    labels: theirs.
    test: what to test on.
    config: to start from.
    workdir: the run's folder.
    **fields: of the config.

  Raises:
    BadInput: something given cannot be; the message names the fix.
  """
  setting = _config(config, 'evaluate')
  data = _data(images, labels, test, fields)
  setting.genotype = _named(genotype)
  examples = fields.get('data__examples')
  setting.data.holdout = examples // 5 if examples else data.held
  setting.data.holdout *= not data.source.tests
  if min(data.source.shape[:2]) < 32:  # too small for that head
    setting.weights.auxiliary = 0.0
  return Network(_run(setting, data, fields, workdir, 'network'))


def load(workdir: str | os.PathLike) -> 'Found | Network':
  """What a run has come to, be it of the command or of a call.

  Raises:
    BadInput: the folder holds no search or training that has found a cell.
  """
  path = pathlib.Path(workdir)
  kinds = {'search': Found, 'evaluate': Network}
  kind = kinds.get(folder.about(path)['config']['task'])
  if kind is None or not (path / 'genotype.json').exists():
    raise errors.BadInput(
      f'{path} holds no search or training that has got so far: give the '
      '--workdir of one'
    )
  return kind(path)


class Run:
  """A run's folder, and what is in it."""

  def __init__(self, workdir: pathlib.Path):
    self.workdir = workdir

  @property
  def genotype(self) -> Any:
    """The cells, of which `fields` are those of a genotype.json."""
    return published.find(str(self.workdir / 'genotype.json'))

  @property
  def result(self) -> dict[str, Any]:
    """What result.json says."""
    return artifacts.read_json(self.workdir / 'result.json')

  @property
  def metrics(self) -> list[dict[str, float]]:
    """Those of each epoch, by name, without what was not measured."""
    rows = artifacts.read_rows(self.workdir / 'metrics.csv')
    return [{k: float(v) for k, v in row.items() if v} for row in rows]

  def report(self) -> 'Report':
    """The run on one page, which a notebook shows."""
    report.write(self.workdir)
    return Report(self.workdir / 'report.html')

  def __repr__(self) -> str:
    graphs = self.genotype.graphs.items()
    told = (f'{spaces.title(k)}\n{cells.text(graph)}' for k, graph in graphs)
    return '\n'.join([f'{self.workdir}, accuracy {self.accuracy:.1%}', *told])

  def _repr_html_(self) -> str:
    graphs = self.genotype.graphs.items()
    drawn = (cells.svg(graph, spaces.title(kind)) for kind, graph in graphs)
    about = html.escape(f'{self.workdir}, accuracy {self.accuracy:.1%}')
    return ''.join([*(f'<div>{svg}</div>' for svg in drawn), f'<p>{about}</p>'])


class Found(Run):
  """What a search has found."""

  @property
  def accuracy(self) -> float:
    """The supernet's, on the half that the alphas learn from."""
    return self.result['valid_accuracy']

  def train(
    self, config: str = 'evaluate_cifar', seed: int | None = None, **given: Any
  ) -> 'Network':
    """Trains a network of these cells, by `train`, on the images searched."""
    about = folder.about(self.workdir)['config']
    data, kept = about['data'], [*self.workdir.glob('images-*.npz')]
    given.setdefault('seed', about['seed'] if seed is None else seed)
    if 'images' not in given:
      given['images'] = kept[0] if kept else data['dir'] or data['name']
    return train(self.workdir / 'genotype.json', config=config, **given)


class Network(Run):
  """A trained network."""

  @property
  def accuracy(self) -> float:
    """On the test images."""
    return 1 - self.result['test_error']

  def logits(self, images: np.ndarray) -> np.ndarray:
    """float32 [N, classes], of uint8 [N, height, width, channels] images."""
    source, call = self._apply
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != source.shape:
      sides = ', '.join(map(str, source.shape))
      raise errors.BadInput(
        f'the network takes uint8 images [N, {sides}], not '
        f'{images.dtype} {list(images.shape)}: bring them to that form'
      )
    parts = [images[n : n + ROWS] for n in range(0, len(images), ROWS)]
    found = [np.asarray(call(part)) for part in parts]
    return np.concatenate(found or [np.zeros((0, source.classes), np.float32)])

  def predict(self, images: np.ndarray) -> np.ndarray:
    """The likeliest classes, int64 [N], of such images."""
    return self.logits(images).argmax(axis=1)

  def save(self, path: str | os.PathLike) -> None:
    """Writes the network for other programs, which the path's ending names.

    One of .stablehlo, .onnx, and .npz, the weights by PyTorch DARTS's names.
    """
    export.write(self.workdir, pathlib.Path(path))

  @functools.cached_property
  def _apply(self):
    """What is known of the data, and the compiled network."""
    source = dataset.recalled(folder.about(self.workdir)['data'])
    net, variables = evaluate.load(self.workdir)

    @jax.jit
    def call(images):
      seen = augment.normalize(images, source.mean, source.std)
      return net.apply(variables, seen)

    return source, call


class Report(NamedTuple):
  """A page, which a notebook shows in a frame."""

  path: pathlib.Path

  def _repr_html_(self) -> str:
    page = html.escape(self.path.read_text())
    style = 'width: 100%; height: 40em; border: 0'
    return f'<iframe srcdoc="{page}" style="{style}"></iframe>'


class Data(NamedTuple):
  """What a call is given: arrays, or a data set's name and place."""

  source: dataset.Source
  held: int  # of it, put aside for a test
  name: str
  place: str
  arrays: dict[str, np.ndarray]
  digest: str


def _data(images, labels, test, fields):
  if isinstance(images, str | os.PathLike):
    if labels is not None or test is not None:
      raise errors.BadInput(
        f'{os.fspath(images)} names a data set, which has its own labels and '
        'test images: give none'
      )
    name, place = sources.at(os.path.expanduser(images))
    source = sources.find(name, place, fields.get('data__size', 0))
    held = 0 if source.tests else source.examples // 5
    return Data(source, held, name, place, {}, '')
  if labels is None or (test is not None and len(test) != 2):
    raise errors.BadInput(
      'arrays come with their labels: give (images, labels), for `test` too'
    )
  source = arrays.from_arrays(images, labels, test)
  if test is None and source.examples < 10:
    raise errors.BadInput(
      f'of {source.examples} images none can be put aside: give more, or `test`'
    )
  if test is None:
    order = split.stratified(source.load('train')[1], 0)
    apart, rest = np.split(order, [len(order) // 5])
    images, labels = np.asarray(images), np.asarray(labels)
    test = images[apart], labels[apart]
    images, labels = (x[np.sort(rest)] for x in (images, labels))
    source = arrays.from_arrays(images, labels, test)
  names = 'x_train', 'y_train', 'x_test', 'y_test'
  given = dict(
    zip(names, map(np.asarray, (images, labels, *test)), strict=True)
  )
  seen = hashlib.blake2b(digest_size=6)
  for x in given.values():
    seen.update(f'{x.dtype}{x.shape}'.encode() + np.ascontiguousarray(x).data)
  return Data(source, 0, 'arrays', '', given, seen.hexdigest())


def _named(genotype):
  """What `config.genotype` takes."""
  if isinstance(genotype, Run):
    return str(genotype.workdir)
  if hasattr(genotype, 'fields'):
    return json.dumps(genotype.fields)
  return os.fspath(genotype)


def _config(name, task):
  """That of a file of configs/, by its name."""
  file, *setting = name.split(':', 1)
  try:
    path = file if file.endswith('.py') else f'configs/{file}.py'
    experiments.there(path)
    config = experiments.load(':'.join([path, *setting]))
  except (ValueError, OSError) as error:
    raise errors.BadInput(f'config {errors.short(name)}: {error}') from error
  if config.get('task') != task:
    raise errors.BadInput(
      f'config {name} is of the task {config.get("task")}: give one of {task}'
    )
  return config


def _run(config, data, fields, workdir, name):
  """Runs a config on what is given, and returns its folder."""
  errors.supported()
  _fit(config, data.source.shape, fields)
  config.data.name, config.data.dir = data.name, data.place
  for field, value in fields.items():
    if '.' in field:
      raise errors.BadInput(
        f'{errors.short(field)}: write two underscores for a dot, as '
        f'{errors.cut(field.replace(".", "__"))}'
      )
    _assign(config, field.split('__'), value)
  if workdir is None:
    said = json.dumps(config.to_dict(), sort_keys=True, default=str)
    seen = hashlib.blake2b(f'{said}{data.digest}'.encode(), digest_size=4)
    workdir = pathlib.Path('runs') / f'{name}-{seen.hexdigest()}'
  path = pathlib.Path(workdir).expanduser()
  malloc.keep()
  try:
    with _kept(data, path) as config.data.dir:
      TASKS[config.task].run(config, path, False)
  except loop.Interrupted as stop:
    raise KeyboardInterrupt(f'{stop}; call it again to go on') from None
  return path


def _fit(config, shape, fields):
  """Scales what a config says of pixels and epochs to those that are given."""
  was = sources.find(config.data.name, config.data.dir).shape
  for name in ('pad', 'cutout'):
    config.data[name] = round(config.data[name] * min(shape[:2]) / min(was[:2]))
  epochs = fields.get('epochs', config.epochs)
  for section in (config.weights, config.get('alphas'), config.get('distill')):
    if section and isinstance(epochs, int):
      section.warmup = section.warmup * epochs // config.epochs


def _assign(section, names, value):
  """Sets a field; whether there is such a one, the task says."""
  if isinstance(value, dict):  # a section, in part
    for name, each in value.items():
      _assign(section, [*names, name], each)
    return
  *sections, last = names
  for name in sections:
    if not isinstance(section.get(name), ConfigDict):
      section[name] = ConfigDict()
    section = section[name]
  try:
    section[last] = value
  except TypeError as error:
    kind = type(section[last]).__name__
    raise errors.BadInput(
      f'{"__".join(names)} must be of type {kind}, not {errors.short(value)}'
    ) from error


@contextlib.contextmanager
def _kept(data, workdir):
  """Where data lie for a run: arrays in its folder, unless it is refused.

  By their content, so that those of another run are not written over.
  """
  if not data.arrays:
    yield data.place
    return
  path = workdir / f'images-{data.digest}.npz'
  artifacts.folder(workdir)
  if new := not path.exists():
    artifacts.write_arrays(path, data.arrays)
  try:
    yield str(path)
  except errors.BadInput:
    if new and not (workdir / 'config.json').exists():
      path.unlink()
      with contextlib.suppress(OSError):  # there is something else in it
        workdir.rmdir()
    raise

"""What a search measures of itself: at an epoch's end, and at its own."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

import jax
from jax import flatten_util
import numpy as np

from sdnas_jax import compilation
from sdnas_jax import parallel
from sdnas_jax import progress
from sdnas_jax.analysis import landscape
from sdnas_jax.data import split
from sdnas_jax.methods.method import Method
from sdnas_jax.networks import columns
from sdnas_jax.report import figures
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import loop
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import search
from sdnas_jax.steps import sharpness

Tree = Any

BLOCK = 16  # Hessian-vector products between two signs of progress
SAMPLES = 4  # random starts of a density
DIRECTIONS = {'alphas': landscape.even, 'weights': landscape.filterwise}


def probe(fields: Mapping[str, Any], decay: float) -> sharpness.Probe:
  """How `config.sharpness` says to measure; `decay` is the alphas' own."""
  names = [field.name for field in dataclasses.fields(sharpness.Probe)]
  given = {name: fields[name] for name in names if name != 'decay'}
  # R-DARTS's code adds the alphas' own decay to their Hessian.
  decayed = given['protocol'] == 'robustdarts' and given['of'] == 'alphas'
  return sharpness.Probe(**given, decay=decay if decayed else 0.0)


def view(
  setup: search.Setup,
  state: search.State,
  valid: split.Split,
  seed: int = 0,
  probe: sharpness.Probe | None = None,
) -> sharpness.View:
  """What looks at a state; an accuracy of the whole half needs no seed.

  It holds nothing that only a step needs, so that methods share programs.
  """
  state = state._replace(opt=None, memory=None, sums=None, rates=None)
  rules = 'rule', 'alpha_rule', 'alpha_optimizer', 'drop_path'
  steps = *rules, 'schedule', 'nesterov', 'distill'
  method = Method(relax=setup.method.relax)
  setup = dataclasses.replace(setup, method=method, **dict.fromkeys(steps))
  return sharpness.View(state, np.uint32(seed), valid, setup, probe)


def hard(view: sharpness.View, genotype: spaces.Genotype) -> Tree:
  """A genotype's one-hot mix."""
  net = view.setup.net
  mix = spaces.hard(net.space, genotype)
  if net.per_cell:
    mix = {
      kind: np.stack([mix[f'cell{n}'] for n in numbers])
      for kind, numbers in net.numbers.items()
    }
  mix = columns.whole(net, mix)
  return parallel.replicate(mix)


def due(every: int, epochs: int, last: int) -> bool:
  """Whether to measure after so many epochs; always after the last."""
  return bool(every) and (epochs % every == 0 or epochs == last)


def portrait(
  view: sharpness.View, workdir: pathlib.Path, points: int, spectrum: bool
) -> None:
  """Adds to a finished search the landscape and the spectrum asked for.

  What is there already is kept.
  """
  if points:
    how = artifacts.write_arrays, artifacts.read_arrays, figures.landscape
    _add(workdir / 'landscape.npz', *how, _landscape, view, points)
  if spectrum:
    how = artifacts.write_rows, artifacts.read_rows, figures.spectrum
    _add(workdir / 'spectrum.csv', *how, _spectrum, view)


def _add(path, write, read, draw, make, *given):
  """Makes a file and draws it, unless that was done; the hosts must agree."""
  picture, bad = path.with_suffix('.png'), artifacts.broken(path.parent)
  there = path.exists() and path.name not in bad
  if parallel.most(int(not there))[0]:
    found = make(*given)
    if parallel.leads():
      write(path, found)
  drawn = there and picture.exists() and picture.name not in bad
  if parallel.leads() and not drawn:
    artifacts.write(picture, draw({path.parent.name: read(path)}))


def _landscape(view, points):
  """`steps` [n], and each group's loss and accuracy [n, n].

  The directions follow from the seed alone, so that methods searched with one
  seed are cut alike.
  """
  rng = np.random.default_rng((int(view.seed), 2))
  steps, calls = np.linspace(-1, 1, points, dtype=np.float32), []
  for of, draw in DIRECTIONS.items():
    own = view.replace(probe=view.probe.replace(of=of))
    here = jax.device_get(own.at)
    one, two = (parallel.replicate(draw(rng, here)) for _ in range(2))
    for step in np.split(steps, points):
      calls.append((own, (one, step), (two, steps)))
  rows, found = collect(sharpness.plane, calls, 'landscape', 'row'), {}
  for of in DIRECTIONS:
    own, rows = rows[:points], rows[points:]
    for name in own[0]:
      found[f'{of}_{name}'] = np.concatenate([row[name] for row in own])
  return {'steps': steps, **found}


def _spectrum(view):
  """Eigenvalues, ascending, and the share of all that each stands for."""
  if view.probe.of == 'alphas':
    x, _ = flatten_util.ravel_pytree(view.at)
    units = np.eye(x.size, dtype=x.dtype)
    among = slice(None) if view.among is None else view.among
    blocks = np.split(units[among], range(BLOCK, len(units[among]), BLOCK))
    calls = [(view, block) for block in blocks]
    each = collect(sharpness.columns, calls, 'spectrum', 'block')
    matrix = np.concatenate(each)[:, among]
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    shares = np.full(len(matrix), 1 / len(matrix))
  else:
    calls = [(view, np.uint32(n)) for n in range(SAMPLES)]
    each = collect(sharpness.density, calls, 'spectrum', 'start')
    values, shares = np.concatenate(each, axis=1)
    shares = shares / SAMPLES
  values = values + view.probe.decay
  pairs = np.stack([values, shares], axis=1)[np.argsort(values)].tolist()
  return [{'eigenvalue': value, 'share': share} for value, share in pairs]


class Look:
  """What a method sees between two epochs: accuracies of mixes that it tries.

  All are normalised by their batches' statistics, and of one program.
  """

  def __init__(self, view: sharpness.View):
    self._view, self._compiled = view, {}

  def __call__(
    self, mix: Tree, part: int | None = None, size: int = 0
  ) -> float:
    """Of the whole valid half, or of a part of so many images.

    A part is drawn, and its images are augmented, by its number and the step of
    the state.
    """
    mix = parallel.replicate(dict(mix))
    if part is None:
      return float(self._run(sharpness.accuracy, mix))
    view = self._view
    rng = np.random.default_rng((int(view.seed), int(view.state.step), part))
    index = rng.permutation(len(view.valid.labels))[:size].astype(np.int32)
    drawn = parallel.replicate((index, np.uint32(part)))
    return float(self._run(sharpness.accuracy_of_part, mix, *drawn))

  def _run(self, function, *given):
    key = function, *map(np.shape, jax.tree.leaves(given))
    if key not in self._compiled:
      program = compilation.Program(function, (self._view, *given))
      (built,) = compilation.build(program, place=parallel.everywhere())
      self._compiled[key] = built
    return self._compiled[key](self._view, *given)


def collect(
  function: Callable[..., Tree],
  calls: Sequence[tuple[Tree, ...]],
  what: str,
  unit: str,
) -> list[Tree]:
  """The function's values for all calls, on the host, with progress.

  Args:
    function: of a module, to be compiled.
    calls: operands, of which the first is a `View`.

  Raises:
    Interrupted: after a signal.
  """
  print(f'{what}: compiling ...', flush=True)
  programs = [compilation.Program(function, call) for call in calls]
  compiled = compilation.build(*programs, place=parallel.everywhere())
  found = []
  with loop.catching() as caught, progress.bar(len(calls), unit) as bar:
    bar.set_description(what)
    for run, call in zip(compiled, calls, strict=True):
      found.append(jax.device_get(run(*call)))
      bar.update()
      if number := parallel.most(caught[0] if caught else 0)[0]:
        raise loop.Interrupted(number, int(call[0].state.step))
  return found

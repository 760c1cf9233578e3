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
from sdnas_jax import search
from sdnas_jax import sharpness
from sdnas_jax.analysis import landscape
from sdnas_jax.data import split
from sdnas_jax.methods.method import Method
from sdnas_jax.networks import columns
from sdnas_jax.report import figures
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import loop
from sdnas_jax.spaces import space as spaces

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


def program(
  setup: search.Setup, valid: split.Split, seed: int, probe: sharpness.Probe
) -> Callable[[search.State, spaces.Genotype], compilation.Program]:
  """From a state and its genotype to what measures them."""
  key, kept = parallel.key(seed), bare(setup)

  def made(state, genotype):
    hard = columns.whole(setup.net, spaces.hard(setup.net.space, genotype))
    given = operands(state), key, valid, parallel.replicate(hard), kept, probe
    return compilation.Program(sharpness.measure, given)

  return made


def due(every: int, epochs: int, last: int) -> bool:
  """Whether to measure after so many epochs; always after the last."""
  return bool(every) and (epochs % every == 0 or epochs == last)


def portrait(
  setup: search.Setup,
  state: search.State,
  valid: split.Split,
  seed: int,
  probe: sharpness.Probe,
  workdir: pathlib.Path,
  points: int,
  spectrum: bool,
) -> None:
  """Adds to a finished search the landscape and the spectrum asked for.

  What is there already is kept.
  """
  at, kept = (operands(state), parallel.key(seed), valid), bare(setup)
  if points:
    _add(
      workdir / 'landscape.npz',
      lambda: _landscape(at, seed, kept, probe, points),
      *(artifacts.write_arrays, artifacts.read_arrays, figures.landscape),
    )
  if spectrum:
    _add(
      workdir / 'spectrum.csv',
      lambda: _spectrum(at, kept, probe),
      *(artifacts.write_rows, artifacts.read_rows, figures.spectrum),
    )


def _add(path, make, write, read, draw):
  """Makes a file and draws it, unless that was done; the hosts must agree."""
  if parallel.most(int(not path.exists()))[0]:
    found = make()
    if parallel.leads():
      write(path, found)
  picture = path.with_suffix('.png')
  if parallel.leads() and not picture.exists():
    artifacts.write(picture, draw({path.parent.name: read(path)}))


def operands(state: search.State) -> search.State:
  """A state without what is not looked at, so that methods share programs."""
  return state._replace(opt=None, memory=None, sums=None, rates=None)


def bare(setup: search.Setup) -> search.Setup:
  """A setup without what only a step needs."""
  fields = 'rule', 'alpha_rule', 'schedule', 'nesterov', 'distill'
  method = Method(relax=setup.method.relax)
  return dataclasses.replace(setup, method=method, **dict.fromkeys(fields))


def _landscape(at, seed, setup, probe, points):
  """`steps` [n], and each group's loss and accuracy [n, n].

  The directions follow from the seed alone, so that methods searched with one
  seed are cut alike.
  """
  rng, steps = np.random.default_rng((seed, 2)), np.linspace(-1, 1, points)
  steps, rows = steps.astype(np.float32), []
  for of, draw in DIRECTIONS.items():
    here = jax.device_get(at[0].params[of])
    one, two = (parallel.replicate(draw(rng, here)) for _ in range(2))
    how = setup, dataclasses.replace(probe, of=of)
    for n in range(points):
      rows.append((*at, (one, steps[n : n + 1]), (two, steps), *how))
  planes = collect(sharpness.plane, rows, 'landscape', 'row')
  found = {'steps': steps}
  for of in DIRECTIONS:
    own, planes = planes[:points], planes[points:]
    for name in own[0]:
      found[f'{of}_{name}'] = np.concatenate([row[name] for row in own])
  return found


def _spectrum(at, setup, probe):
  """Eigenvalues, ascending, and the share of all that each stands for."""
  if probe.of == 'alphas':
    x, _ = flatten_util.ravel_pytree(at[0].params['alphas'])
    units = np.eye(x.size, dtype=x.dtype)
    blocks = np.split(units, range(BLOCK, x.size, BLOCK))
    rows = [(*at, block, setup, probe) for block in blocks]
    each = collect(sharpness.columns, rows, 'spectrum', 'block')
    matrix = np.concatenate(each)
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2) + probe.decay
    shares = np.full(x.size, 1 / x.size)
  else:
    starts = (jax.random.fold_in(at[1], n) for n in range(SAMPLES))
    rows = [(*at, start, setup, probe) for start in starts]
    each = collect(sharpness.density, rows, 'spectrum', 'start')
    values = np.concatenate([values for values, _ in each]) + probe.decay
    shares = np.concatenate([shares for _, shares in each]) / SAMPLES
  order = np.argsort(values)
  pairs = zip(values[order].tolist(), shares[order].tolist(), strict=True)
  return [{'eigenvalue': value, 'share': share} for value, share in pairs]


def collect(
  function: Callable[..., Tree],
  calls: Sequence[tuple[Tree, ...]],
  what: str,
  unit: str,
) -> list[Tree]:
  """The function's values for all calls, on the host, with progress.

  Args:
    function: of a module, to be compiled.
    calls: operands, of which the first has a `step`.

  Raises:
    Interrupted: after a signal.
  """
  print(f'{what}: compiling ...', flush=True)
  place = parallel.everywhere()
  programs = [compilation.Program(function, call) for call in calls]
  compiled = compilation.build(*programs, place=place)
  found, at = [], int(calls[0][0].step)
  with loop.catching() as caught, loop.bar(len(calls), unit) as bar:
    bar.set_description(what)
    for run, call in zip(compiled, calls, strict=True):
      found.append(jax.device_get(run(*call)))
      bar.update()
      if number := parallel.most(caught[0] if caught else 0)[0]:
        raise loop.Interrupted(number, at)
  return found

"""What is compiled once for many runs, and what is not."""

import functools
import os
import pathlib
import stat
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest

from configs import evaluate_digits
from configs import search_digits
from sdnas_jax import compilation
from sdnas_jax import parallel
from sdnas_jax.data import sources
from sdnas_jax.kernels import build
from sdnas_jax.spaces import published
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import search
from sdnas_jax.tasks import stages


def scaled(x, setup):
  return x * setup.epochs


def searching(**change):
  config = search_digits.get_config()
  options = change.pop('options', {})
  config.update_from_flattened_dict(change)
  config.options.update(options)
  source, space = sources.find('digits', ''), SPACES['darts']
  (stage,) = stages.plan(config, space)
  return search.begin(stage, space, source, 80).setup


def training(**change):
  config = evaluate_digits.get_config()
  config.update_from_flattened_dict(change)
  genotype = published.find(config.genotype)
  return evaluate.assemble(config, genotype, sources.find('digits', ''))


def built(x, setup):
  program = compilation.Program(scaled, (x, setup))
  return compilation.build(program, place=parallel.everywhere())[0]


@pytest.mark.parametrize(
  'make, number, structure',
  [
    (searching, {'distill.warmup': 16}, {'distill.teachers': 3}),
    (searching, {'seed': 3}, {'weights.schedule': 'linear'}),
    (searching, {'distill.weight': 0.5}, {'distill.weight': 0.0}),
    (searching, {'weights.lr': 0.1}, {'weights.rule': 'sam'}),
    (searching, {'alphas.decay': 0.1}, {'weights.nesterov': True}),
    (searching, {'weights.clip': 1.0}, {'distill.teacher': 'ema'}),
    (searching, {'distill.temperature': 3.0}, {'distill.metric': 'cosine'}),
    (searching, {'method': 'darts_es'}, {'method': 'darts2'}),
    (
      functools.partial(searching, method='gdas'),
      {'options': {'tau_max': 5.0}},
      {'method': 'snas'},
    ),
    (
      functools.partial(searching, **{'weights.rule': 'sam'}),
      {'weights.rho': 0.1},
      {'weights.rule': 'plain'},
    ),
    (
      functools.partial(searching, **{'weights.rule': 'asam'}),
      {'weights.eta': 0.1},
      {'weights.rule': 'sam'},
    ),
    (
      functools.partial(searching, **{'weights.rule': 'gradient_norm'}),
      {'weights.balance': 0.3},
      {'distill.ramp': 4},
    ),
    (
      functools.partial(searching, **{'alphas.rule': 'a2m'}),
      {'alphas.rho': 0.3},
      {'alphas.rule': 'plain'},
    ),
    (
      functools.partial(searching, **{'distill.ramp': 4}),
      {'distill.ramp': 5},
      {'distill.teacher': 'mean_teacher'},
    ),
    (training, {'weights.smoothing': 0.1}, {'genotype': 'DARTS_V1'}),
    (training, {'weights.lr': 0.1}, {'weights.schedule': 'linear'}),
    (training, {'seed': 3}, {'weights.nesterov': True}),
  ],
)
def test_runs_that_differ_in_numbers_share_a_program(make, number, structure):
  x = jnp.arange(3.0)
  one = built(x, make())
  assert built(x + 1, make(**number)) is one
  assert built(x, make(**structure)) is not one
  assert built(jnp.arange(4.0), make()) is not one
  assert one(x, make()).tolist() == [0, make().epochs, 2 * make().epochs]


def test_the_cache_is_the_user_s_alone(tmp_path, monkeypatch):
  """Also with a umask that opens files to all; and else it is not used."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  before = os.umask(0)
  try:
    found = compilation.folder()
  finally:
    os.umask(before)
  mode = lambda path: stat.S_IMODE(path.stat().st_mode)  # noqa: E731
  assert found == tmp_path / 'sdnas_jax' and mode(found) == 0o700
  found.chmod(0o755)  # as earlier versions made it
  assert mode(compilation.folder()) == 0o700
  for open_to_others in (0o777, 0o770, 0o702):
    found.chmod(open_to_others)
    with pytest.warns(UserWarning, match='remove it'):
      with pytest.raises(OSError, match='written by others'):
        compilation.folder()
  monkeypatch.setattr(os, 'geteuid', lambda: 12345)
  found.chmod(0o700)
  with pytest.warns(UserWarning), pytest.raises(OSError):
    compilation.folder()


def test_no_library_is_loaded_from_a_folder_that_others_can_write(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  compilation.folder().chmod(0o777)
  asked = []

  def load(folder, source, command, version):
    asked.append(folder)
    return None, version

  monkeypatch.setattr(build, '_load', load)
  monkeypatch.setattr(build, '_compiler', lambda: ['c++'])
  with pytest.warns(UserWarning, match='remove it'):
    build.library.__wrapped__('pool', 'float32')
  (folder,) = asked
  assert tmp_path not in folder.parents
  assert folder.parent == pathlib.Path(tempfile.gettempdir())


def test_too_many_programs_are_forgotten_and_made_again(tmp_path, monkeypatch):
  maps = tmp_path / 'maps'
  monkeypatch.setattr(compilation, 'MAPS', maps)
  x, setup = jnp.ones(3), searching()
  first = built(x, setup)
  maps.write_text('a\n' * compilation.MOST)
  assert built(x, setup) is first
  maps.write_text('a\n' * (compilation.MOST + 1))
  again = built(x, setup)
  assert again is not first and len(compilation._BUILT) == 1
  np.testing.assert_array_equal(again(x, setup), first(x, setup))

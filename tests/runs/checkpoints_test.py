"""Checkpoints: what comes back, and where they cannot be written."""

import shutil
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from sdnas_jax import errors
from sdnas_jax import parallel
from sdnas_jax.runs import checkpoints
from tests import torture

resource = pytest.importorskip('resource')


class State(NamedTuple):
  step: jax.Array
  epoch: jax.Array
  weights: Any


def state(step):
  rng = np.random.default_rng(step)  # noise: it does not compress
  weights = rng.standard_normal(10_000).astype(np.float32)
  return parallel.replicate(State(np.int32(step), np.int32(0), weights))


def mixed(seed):
  """Leaves of all types, shapes and sizes, whose order is not their names'."""
  rng = np.random.default_rng(seed)
  leaves = {
    'z': rng.standard_normal((2, 3)).astype(np.float32),
    'a': (rng.integers(9, size=4), rng.random((2, 0)), rng.random()),
    'm': rng.random((3, 1)) < 0.5,
    'b': jnp.asarray(rng.random((1, 5)), jnp.bfloat16),
    'y': rng.standard_normal((3, 2)).astype(np.float32),
  }
  return parallel.replicate(State(np.int32(seed), np.int32(1), leaves))


def test_a_state_comes_back_to_the_bit_and_the_latest_two_are_kept(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path)
  assert kept.latest(mixed(0)) is None
  for seed in (1, 2, 3):
    kept.save(mixed(seed), whole=True)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['2', '3']
  like = jax.eval_shape(lambda x: x, mixed(0))
  found = checkpoints.Checkpoints(tmp_path).latest(like)
  assert jax.tree.structure(found) == jax.tree.structure(like)
  for one, two in zip(*map(jax.tree.leaves, (found, mixed(3))), strict=True):
    assert one.dtype == two.dtype and one.sharding == two.sharding
    np.testing.assert_array_equal(one, two)


def test_a_checkpoint_that_a_kill_left_unsealed_is_sealed(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path)
  for seed in (1, 2):
    kept.save(mixed(seed), whole=True)
  seal = tmp_path / '2' / checkpoints.SEAL
  content = seal.read_bytes()
  seal.rename(seal.with_name(f'.{seal.name}.0a1b2c3d'))
  checkpoints.Checkpoints(tmp_path)
  assert seal.read_bytes() == content
  assert not [*seal.parent.glob('.*')]


@pytest.mark.parametrize(
  'change',
  [
    lambda w: {**w, 'y': w['y'].T},
    lambda w: {**w, 'y': w['m'], 'm': w['y']},
    lambda w: {('x' if name == 'y' else name): w[name] for name in w},
    lambda w: {**w, 'new': w['m']},
    lambda w: {**w, 'y': w['y'].astype(jnp.bfloat16)},
  ],
)
def test_a_state_of_another_layout_is_refused(tmp_path, change):
  checkpoints.Checkpoints(tmp_path).save(mixed(1), whole=True)
  like = mixed(1)
  like = like._replace(weights=change(like.weights))
  says = r'its \.weights.* is (float32|bool|int64) .*--workdir'
  with pytest.raises(errors.BadInput, match=says):
    checkpoints.Checkpoints(tmp_path).latest(like)


def test_a_checkpoint_without_a_layout_is_refused(tmp_path):
  with ocp.CheckpointManager(tmp_path) as other:
    other.save(1, args=ocp.args.StandardSave({'a': np.ones(3)}))
  with pytest.raises(errors.BadInput, match=r'another version.*--workdir'):
    checkpoints.Checkpoints(tmp_path).latest(mixed(1))


def damage(folder, rng):
  """Damages one of a checkpoint's files."""
  files = sorted(path for path in folder.rglob('*') if path.is_file())
  files = [path for path in files if path.name != checkpoints.SEAL]
  path = files[rng.integers(len(files))]
  torture.spoil(path, rng.choice(torture.DAMAGES), rng)


@pytest.mark.parametrize('seed', range(12))
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
  seed, tmp_path, capsys
):
  kept, rng = checkpoints.Checkpoints(tmp_path), np.random.default_rng(seed)
  for step in (1, 2):
    kept.save(mixed(step), whole=True, record={'metrics.csv': step})
  for _ in range(4):
    damage(tmp_path / '2', rng)
  again = checkpoints.Checkpoints(tmp_path)
  found = again.latest(jax.eval_shape(lambda x: x, mixed(0)))
  assert again.record == {'metrics.csv': 1}
  jax.tree.map(np.testing.assert_array_equal, found, mixed(1))
  assert '2 is damaged' in capsys.readouterr().out
  again.save(mixed(3), whole=True)
  fresh = checkpoints.Checkpoints(tmp_path)
  assert int(fresh.latest(mixed(0)).step) == 3
  for number in sorted(path.name for path in tmp_path.iterdir()):
    damage(tmp_path / number, np.random.default_rng(0))
  for path in tmp_path.rglob('*'):
    if path.is_file():
      path.write_bytes(b'')
  with pytest.raises(errors.BadInput, match='are damaged'):
    checkpoints.Checkpoints(tmp_path)


def test_what_a_kill_left_is_removed(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path)
  for step in (1, 2, 3):
    kept.save(mixed(step), whole=True)
  (tmp_path / '9').mkdir()  # as Orbax leaves what was not whole
  shutil.copytree(tmp_path / '2', tmp_path / '1')
  checkpoints.Checkpoints(tmp_path).save(mixed(4), whole=True)
  kept = checkpoints.Checkpoints(tmp_path)
  assert int(kept.latest(mixed(0)).step) == 4
  assert len(list(tmp_path.iterdir())) == 2


# Of the failed save, Orbax leaves coroutines that never end.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_save_that_fails_is_one_error_and_spoils_no_older_one(
  tmp_path, caplog
):
  kept = checkpoints.Checkpoints(tmp_path)
  kept.save(state(1), whole=True)
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
  try:
    with pytest.raises(OSError, match='File too large'):
      kept.save(state(2), whole=True)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert not caplog.records
  again = checkpoints.Checkpoints(tmp_path)
  found = again.latest(state(0))
  jax.tree.map(np.testing.assert_array_equal, found, state(1))
  again.save(state(2), whole=True)
  found = again.latest(state(0))
  jax.tree.map(np.testing.assert_array_equal, found, state(2))


def at(epoch, seed=None):
  """A state whose noise is its epoch's."""
  return mixed(epoch if seed is None else seed)._replace(
    epoch=parallel.replicate(np.int32(epoch))
  )


def numbers(folder):
  return sorted(int(path.name) for path in folder.iterdir())


def test_a_checkpoint_says_where_it_was_taken(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path)
  assert kept.place is None
  kept.save(at(3), whole=True, stage=1, revisions=2)
  assert kept.place == checkpoints.Place(1, 3, True, 2)
  kept.save(at(3), whole=False, stage=1, revisions=2)
  again = checkpoints.Checkpoints(tmp_path)
  assert again.place == checkpoints.Place(1, 3, False, 2)


def test_ends_of_epochs_within_reach_are_kept(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path, reach=2)
  for epoch in range(1, 6):
    kept.save(at(epoch), whole=True)
    kept.save(at(epoch, seed=99), whole=False)
  # Saves 1, 3, 5, 7, 9 are ends of epochs 1 to 5, the others within one.
  assert numbers(tmp_path) == [5, 7, 9, 10]
  # Another process knows as much.
  again = checkpoints.Checkpoints(tmp_path, reach=2)
  again.save(at(6), whole=True)
  assert numbers(tmp_path) == [7, 9, 10, 11]
  # A new stage has no use for the one before.
  again.save(at(1), whole=True, stage=1)
  again.save(at(2), whole=True, stage=1)
  assert numbers(tmp_path) == [12, 13]


def test_going_back_gives_the_bits_of_then(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path, reach=3)
  for epoch in range(1, 5):
    kept.save(at(epoch), whole=True)
  like = jax.eval_shape(lambda x: x, mixed(0))
  for manager in (kept, checkpoints.Checkpoints(tmp_path, reach=3)):
    # After the second epoch, number 1, two are done.
    found = manager.after(0, 1, like)
    assert int(found.epoch) == 2
    jax.tree.map(np.testing.assert_array_equal, found, at(2))
  # It goes on from there; what was abandoned is not taken for what is new.
  kept.save(at(2, seed=52), whole=True, revisions=1)
  kept.save(at(3, seed=53), whole=True, revisions=1)
  found = kept.after(0, 2, like)
  jax.tree.map(np.testing.assert_array_equal, found, at(3, seed=53))
  found = kept.after(0, 1, like)
  jax.tree.map(np.testing.assert_array_equal, found, at(2, seed=52))


def test_what_is_no_longer_there_is_a_sentence(tmp_path):
  kept = checkpoints.Checkpoints(tmp_path)
  for epoch in range(1, 5):
    kept.save(at(epoch), whole=True)
  like = jax.eval_shape(lambda x: x, mixed(0))
  for stage, epoch in ((0, 0), (1, 3)):
    with pytest.raises(errors.BadInput, match=r'no longer holds.*--workdir'):
      kept.after(stage, epoch, like)

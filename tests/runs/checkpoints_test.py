"""Checkpoints: what comes back, and where they cannot be written."""

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
  kept = checkpoints.manager(tmp_path)
  assert checkpoints.latest(kept, mixed(0)) is None
  for seed in (1, 2, 3):
    checkpoints.save(kept, mixed(seed))
  assert sorted(path.name for path in tmp_path.iterdir()) == ['3', '4']
  like = jax.eval_shape(lambda x: x, mixed(0))
  found = checkpoints.latest(checkpoints.manager(tmp_path), like)
  assert jax.tree.structure(found) == jax.tree.structure(like)
  for one, two in zip(*map(jax.tree.leaves, (found, mixed(3))), strict=True):
    assert one.dtype == two.dtype and one.sharding == two.sharding
    np.testing.assert_array_equal(one, two)


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
  checkpoints.save(checkpoints.manager(tmp_path), mixed(1))
  like = mixed(1)
  like = like._replace(weights=change(like.weights))
  with pytest.raises(errors.BadInput, match=r'another version.*--workdir'):
    checkpoints.latest(checkpoints.manager(tmp_path), like)


def test_a_checkpoint_without_a_layout_is_refused(tmp_path):
  with ocp.CheckpointManager(tmp_path) as other:
    other.save(1, args=ocp.args.StandardSave({'a': np.ones(3)}))
  with pytest.raises(errors.BadInput, match=r'another version.*--workdir'):
    checkpoints.latest(checkpoints.manager(tmp_path), mixed(1))


# Of the failed save, Orbax leaves coroutines that never end.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_save_that_fails_is_one_error_and_spoils_no_older_one(
  tmp_path, caplog
):
  kept = checkpoints.manager(tmp_path)
  checkpoints.save(kept, state(1))
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
  try:
    with pytest.raises(OSError, match='File too large'):
      checkpoints.save(kept, state(2))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert not caplog.records
  again = checkpoints.manager(tmp_path)
  found = checkpoints.latest(again, state(0))
  jax.tree.map(np.testing.assert_array_equal, found, state(1))
  checkpoints.save(again, state(2))
  found = checkpoints.latest(again, state(0))
  jax.tree.map(np.testing.assert_array_equal, found, state(2))

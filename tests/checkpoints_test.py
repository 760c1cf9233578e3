"""Checkpoints where they cannot be written."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from sdnas_jax import checkpoints
from sdnas_jax import parallel

resource = pytest.importorskip('resource')


class State(NamedTuple):
  step: jax.Array
  epoch: jax.Array
  weights: jax.Array


def state(step):
  rng = np.random.default_rng(step)  # noise: it does not compress
  weights = rng.standard_normal(10_000).astype(np.float32)
  return parallel.replicate(State(np.int32(step), np.int32(0), weights))


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

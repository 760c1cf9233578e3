"""What a method may change between two epochs, carried out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sdnas_jax import parallel
from sdnas_jax.data import split
from sdnas_jax.methods.method import Revision
from sdnas_jax.runs import checkpoints
from sdnas_jax.runs import record
from sdnas_jax.steps import search
from sdnas_jax.tasks import measure


def revise(
  stage: Any,
  state: search.State,
  valid: split.Split,
  log: record.Record,
  kept: checkpoints.Checkpoints,
  save: Callable[..., None],
) -> search.State:
  """Asks the method before an epoch of a stage, or after its last.

  Every host asks and computes the same. What it answers is noted first, then
  saved with the state, then what went back is forgotten: a run killed between
  two of these asks again.

  Args:
    stage: a `search.Stage` of the tasks.
    state: at the epoch's end, not yet saved; or the stage's first.

  Returns:
    The state to go on from, saved.
  """
  method, back = stage.setup.method, None
  # The epochs before those that the method counts.
  first = log.begun(stage.number) - stage.setup.before
  if method.revise is not None:
    rates = {k: float(v) for k, v in state.rates.items()}
    history = log.past(first, rates, stage.setup.epochs)
    look = measure.Look(measure.view(stage.setup, state, valid, stage.seed))
    revision = method.revise(history, jax.device_get(state.arch), look)
    if revision is not None:
      log.revise(first, revision)
      back = revision.back
      if back is not None:
        own = back - stage.setup.before
        state = kept.after(stage.number, own, like=state)
      state = applied(state, revision)
  if method.revise is not None or int(state.step):
    save(state, whole=True)
  if back is not None:
    log.back(first + back + 1)
  return state


def applied(state: search.State, revision: Revision) -> search.State:
  """A state with a revision's architecture and rates."""
  if revision.arch is not None:
    alphas, mask, own = parallel.replicate(revision.arch)
    params = {**state.params, 'alphas': alphas}
    state = state._replace(params=params, mask=mask, own=own)
  fresh = {
    name: jnp.asarray(value, state.rates[name].dtype)
    for name, value in revision.rates.items()
  }
  return state._replace(rates={**state.rates, **parallel.replicate(fresh)})

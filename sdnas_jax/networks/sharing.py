"""Applies many equal modules, each with its own variables, tracing them once.

A supernet of 8 cells has 40 mixed operations of 14 shapes. What jit has traced,
differentiated and lowered for one serves all of its shape. Equal modules that
follow each other are a loop, which XLA compiles once.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def call(parent: nn.Module, name: str, module: nn.Module, *args: Any) -> Any:
  """What `module`, as a child of that name, returns for trees of arrays.

  It has no parent, and its fields tell which children are equal; `parent` is in
  a compact method.
  """
  if parent.is_initializing():
    out, fresh = _init(module, parent.make_rng('params'), *args)
    for group, values in fresh.items():
      parent.put_variable(group, name, values)
    return out
  groups, mutable = _variables(parent, name)
  out, changed = _apply(module, mutable, groups, *args)
  for group, values in changed.items():
    parent.put_variable(group, name, values)
  return out


def chain(
  parent: nn.Module,
  names: Sequence[str],
  module: nn.Module,
  carry: Any,
  given: Sequence[Any],
  turn: Callable[[Any, Any], Any],
) -> Any:
  """Applies `module` as each child of those names, one after the other.

  Args:
    parent: as in `call`.
    names: of the children.
    module: as in `call`.
    carry: the arguments of the first; those of all are of its shapes.
    given: for each child, one more argument.
    turn: from a child's arguments and what it returns to the next one's.

  Returns:
    What `turn` makes of the last.
  """
  if parent.is_initializing() or len(names) == 1:
    for name, own in zip(names, given, strict=True):
      carry = turn(carry, call(parent, name, module, *carry, own))
    return carry
  each = [_variables(parent, name) for name in names]
  stacked = _stack([groups for groups, _ in each]), _stack(given)
  carry, changed = _loop(module, each[0][1], turn, carry, stacked)
  for n, name in enumerate(names):
    for group, values in changed.items():
      own = jax.tree.map(lambda x, n=n: x[n], values)
      parent.put_variable(group, name, own)
  return carry


def _variables(parent, name):
  """A child's variables by collection, and the collections that it may set."""
  groups = {k: v[name] for k, v in parent.variables.items() if name in v}
  return groups, tuple(k for k in groups if parent.is_mutable_collection(k))


def _stack(trees):
  return jax.tree.map(lambda *x: jnp.stack(x), *trees)


@functools.partial(jax.jit, static_argnums=0)
def _init(module, key, *args):
  return module.init_with_output(key, *args)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(module, mutable, variables, *args):
  return module.apply(variables, *args, mutable=mutable)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _loop(module, mutable, turn, carry, stacked):
  def body(carry, own):
    variables, given = own
    out, changed = module.apply(variables, *carry, given, mutable=mutable)
    return turn(carry, out), changed

  return jax.lax.scan(body, carry, stacked)

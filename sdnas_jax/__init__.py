"""Differentiable architecture search by self-distillation, in JAX and Flax.

>>> import sdnas_jax
>>> found = sdnas_jax.search(images, labels, method='sd_darts')
>>> network = found.train()
>>> network.predict(others)
>>> network.save('network.stablehlo')

`sdnas_jax.interface` tells more. The command is `sdnas`, and what it runs lies
in `sdnas_jax.tasks`.
"""

from typing import Any

__all__ = ['load', 'search', 'train']


def __getattr__(name: str) -> Any:
  """What is for users, imported when it is asked for: JAX takes seconds."""
  if name not in __all__:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  from sdnas_jax import interface

  return getattr(interface, name)


def __dir__() -> list[str]:
  return sorted([*globals(), *__all__])

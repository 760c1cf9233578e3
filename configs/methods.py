"""Which method finds the best cell, and which does self-distillation help?

  python launch.py --config=configs/methods.py --workdir=runs/methods
  python launch.py --config=configs/methods.py:proxy \\
    --workdir=runs/methods_proxy
  python launch.py --config=configs/methods.py:digits \\
    --workdir=runs/methods_digits

All of this package, each with and without self-distillation. On CIFAR-10 and
on the digits a method searches as its own config says, and what is found is
trained by one recipe, beside a published cell and random ones. The proxy, for
two cores, searches NAS-Bench-201's space on 2,048 images of CIFAR-10; what is
found there is looked up, and methods that the space cannot carry are left out.
Start the command in several processes, and they share the runs.
`benchmarks/methods.py` makes the tables of docs/methods/comparison.md.
"""

import importlib
import importlib.util
from typing import Any

from ml_collections import ConfigDict

from configs import demo
from configs import evaluate_cifar
from configs import search_cifar
from configs import table_nasbench201
from sdnas_jax import methods
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import SPACES

SCALES = 'full', 'proxy', 'digits'
# Whose config has another name than theirs.
SHARED = {'sdarts_rs': 'sdarts', 'sdarts_adv': 'sdarts'}


def get_config(scale: str = 'full') -> ConfigDict:
  """The experiment, at one of the SCALES."""
  if scale not in SCALES:
    raise ValueError(f'there is no {scale!r} scale: take one of {SCALES}')
  if scale == 'proxy':
    config = table_nasbench201.get_config('proxy')
    config.search.rank.samples = 0
  else:
    config = demo.get_config()
    config.repeats, config.seeds = 1, 3
  if scale == 'full':
    config.search = search_cifar.get_config()
    config.evaluate = evaluate_cifar.get_config()
  search = config.search
  search.distill.weight = 0.0
  search.sharpness.every = 2  # some methods look at it themselves
  config.variants = {}
  for name in methods.METHODS:
    method = methods.make(name, {})
    if scale == 'proxy' and not carries(search, method):
      continue
    own = {} if scale == 'proxy' else settings(name, scale)
    own |= {'method': name}
    term = own.get('distill', {}) | {'weight': 1.0}
    train = {}
    if 'per_cell' in method.model:  # and so many cells are found
      layers = own.get('model', {}).get('layers', search.model.layers)
      train = {'evaluate': {'model': {'layers': layers}}}
    config.variants[name] = {'search': own} | train
    taught = own | {'distill': term}
    config.variants[f'sd_{name}'] = {'search': taught} | train
  return config


def carries(search: ConfigDict, method: methods.Method) -> bool:
  """Whether the space can be searched by it."""
  fields = artifacts.flat(search.to_dict()) | dict(method.needs)
  return not method.refuse(SPACES[search.space], fields)


def settings(method: str, scale: str) -> dict[str, Any]:
  """What the method's own config changes, if it has one."""
  name = f'configs.search_{SHARED.get(method, method)}'
  if importlib.util.find_spec(name) is None:
    return {}
  data = {'full': 'cifar'}.get(scale, scale)
  own = importlib.import_module(name).get_config(data)
  return _changes(search_cifar.plain(data).to_dict(), own.to_dict())


def _changes(usual, own):
  changed = {k: v for k, v in own.items() if v != usual.get(k)}
  return {
    name: _changes(usual.get(name, {}), value)
    if isinstance(value, dict)
    else value
    for name, value in changed.items()
  }

"""Faults that the tests must catch, each with the test that does.

  python tests/mutants.py [WORD ...]

A mutant is one replacement in a copy of the repository. The script runs the
test on the copy as it is, where it must pass, and on the mutant, where it must
fail; words select the mutants whose names hold one of them.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
COPIED = 'sdnas_jax', 'tests', 'configs', 'benchmarks', 'launch.py'


class Mutant(NamedTuple):
  """What is wrong, and which test says so."""

  name: str
  file: str  # in the package
  right: str  # occurs once
  wrong: str
  test: str  # arguments of pytest


SUPERNET = 'tests/golden/darts_supernet_test.py -k logits'
OPERATION = 'tests/golden/darts_supernet_test.py -k alone'
STEP = 'tests/golden/nasbench201_test.py -k step[darts]'
WEIGHTS = 'tests/golden/nasbench201_test.py -k the_weight_step'
OPTIMIZERS = 'tests/bilevel/optimizers_test.py'
MUTANTS = (
  Mutant(
    'every cell is of kind reduce',
    'networks/supernet.py',
    'own = mix[kind]',
    "own = mix['reduce']",
    SUPERNET,
  ),
  Mutant(
    'the mix of a source has its edges reversed',
    'networks/supernet.py',
    'mix[: len(edges)], mix[len(edges) :]',
    'mix[: len(edges)][::-1], mix[len(edges) :]',
    SUPERNET,
  ),
  Mutant(
    'the second reduction is a cell late',
    'spaces/space.py',
    'layers // 3, 2 * layers // 3',
    'layers // 3, 2 * layers // 3 + 1',
    SUPERNET,
  ),
  Mutant(
    'the second convolution has the stride',
    'networks/ops.py',
    """self.channels, self.stride, name='first')
    second = Separable(kernels, edges, self.channels, name""",
    """self.channels, name='first')
    second = Separable(kernels, edges, self.channels, self.stride, name""",
    OPERATION,
  ),
  Mutant(
    'both halves of a reduction see the even pixels',
    'networks/ops.py',
    'x[:, :, 1::2, 1::2]',
    'x[:, :, ::2, ::2]',
    OPERATION,
  ),
  Mutant(
    'the pools are swapped',
    'networks/ops.py',
    "POOLS = ('max_pool_3x3', 'avg_pool_3x3')",
    "POOLS = ('avg_pool_3x3', 'max_pool_3x3')",
    OPERATION,
  ),
  Mutant(
    'running statistics have the momentum of another library',
    'networks/ops.py',
    'momentum: float = 0.9\n',
    'momentum: float = 0.99\n',
    SUPERNET,
  ),
  Mutant(
    'the alphas learn from the training half',
    'steps/search.py',
    """state.stats, valid, mix | more)
    return criterion(logits, valid)""",
    """state.stats, train, mix | more)
    return criterion(logits, train)""",
    STEP,
  ),
  Mutant(
    'the weights learn under the alphas of before',
    'steps/search.py',
    """    state = move_alphas(state, *given, valid)
    state, seen = move_weights(state, *given)
""",
    """    state, seen = move_weights(state, *given)
    state = move_alphas(state, *given, valid)
""",
    'tests/steps/search_test.py -k written_out',
  ),
  Mutant(
    'the virtual step does not depend on the alphas',
    'bilevel/hypergrad.py',
    'problem.virtual(grads)',
    'problem.virtual(jax.lax.stop_gradient(grads))',
    'tests/bilevel/hypergrad_test.py -k quadratic',
  ),
  Mutant(
    'the decay comes after the momentum',
    'bilevel/optimizers.py',
    """    optax.add_decayed_weights(decay),
    optax.trace(momentum, nesterov),
""",
    """    optax.trace(momentum, nesterov),
    optax.add_decayed_weights(decay),
""",
    OPTIMIZERS,
  ),
  Mutant(
    'the clipping comes after the decay',
    'bilevel/optimizers.py',
    """    clip_by_global_norm(clip),
    optax.add_decayed_weights(decay),
""",
    """    optax.add_decayed_weights(decay),
    clip_by_global_norm(clip),
""",
    OPTIMIZERS,
  ),
  Mutant(
    "the alphas' decay is decoupled",
    'bilevel/optimizers.py',
    """    optax.add_decayed_weights(decay),
    optax.scale_by_adam(b1, b2),
""",
    """    optax.scale_by_adam(b1, b2),
    optax.add_decayed_weights(decay),
""",
    OPTIMIZERS,
  ),
  Mutant(
    'an update of one group moves the state of the other',
    'bilevel/optimizers.py',
    'inner = {**opt.inner_states, group: own}',
    'inner = {**new.inner_states, group: own}',
    OPTIMIZERS,
  ),
  Mutant(
    'a teacher is an epoch late',
    'bilevel/teachers.py',
    'slot = _count(ring, index) % len(ring.probs)\n',
    'slot = (_count(ring, index) + 1) % len(ring.probs)\n',
    'tests/bilevel/distill_test.py',
  ),
  Mutant(
    'distillation starts an epoch late',
    'bilevel/distill.py',
    'epoch >= self.warmup',
    'epoch > self.warmup',
    'tests/bilevel/distill_test.py',
  ),
  Mutant(
    'the divergence is reversed',
    'bilevel/distill.py',
    "'kl': kl,",
    "'kl': reverse_kl,",
    'tests/bilevel/distill_test.py',
  ),
  Mutant(
    'none may be chosen',
    'spaces/space.py',
    "if none or name != 'none'",
    'if name',
    'tests/spaces/space_test.py',
  ),
  Mutant(
    'the deviation of contributions is added',
    'methods/contribution.py',
    'values.mean(axis=1) - values.std',
    'values.mean(axis=1) + values.std',
    'tests/golden/shapley_nas_test.py -k in_a_row',
  ),
  Mutant(
    'an order ends at the threshold itself',
    'methods/contribution.py',
    'now < threshold',
    'now <= threshold',
    'tests/golden/shapley_nas_test.py -k at_the_threshold',
  ),
  Mutant(
    'a pass of every step is left out',
    'methods/fairness.py',
    'fori_loop(0,',
    'fori_loop(1,',
    'tests/methods/fairness_test.py -k each_once',
  ),
  Mutant(
    'the policy climbs down',
    'methods/reinforce.py',
    "own['baseline'] - reward",
    "reward - own['baseline']",
    'tests/methods/paths_test.py -k the_gradient',
  ),
  Mutant(
    'a node draws three edges',
    'methods/paths.py',
    'before < topology.EDGES',
    'before <= topology.EDGES',
    'tests/methods/paths_test.py -k as_likely',
  ),
)


def fails(folder, test):
  """Whether a test fails in a copy; it must run, whatever comes of it."""
  done = subprocess.run(
    [sys.executable, '-m', 'pytest', '-qx', '-n', '0', *test.split(' ')],
    cwd=folder,
    capture_output=True,
    text=True,
  )
  if done.returncode not in (0, 1):
    sys.exit(f'pytest {test} did not run:\n{done.stdout}{done.stderr}')
  return bool(done.returncode)


def caught(folder, mutant):
  """Whether its test fails on a mutant, made in a copy for so long."""
  path = folder / 'sdnas_jax' / mutant.file
  text = path.read_text()
  if text.count(mutant.right) != 1:
    sys.exit(f'{mutant.name}: its text is not once in {mutant.file}')
  path.write_text(text.replace(mutant.right, mutant.wrong))
  try:
    return fails(folder, mutant.test)
  finally:
    path.write_text(text)


def main(words):
  """Returns 1 if a mutant survives."""
  chosen = [
    mutant
    for mutant in MUTANTS
    if not words or any(word in mutant.name for word in words)
  ]
  survivors = 0
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for part in (*COPIED, 'pyproject.toml'):
      copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
      copy(ROOT / part, folder / part)
    for test in dict.fromkeys(mutant.test for mutant in chosen):
      if fails(folder, test):
        sys.exit(f'pytest {test} fails without a mutant')
    for mutant in chosen:
      found = caught(folder, mutant)
      survivors += not found
      print('caught  ' if found else 'SURVIVES', mutant.name, flush=True)
  return 1 if survivors else 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))

"""Networks in bfloat16, by the best means at hand, against float32.

The DARTS supernet's is in `supernet_test.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import derived
from sdnas_jax.networks import nasbench201
from sdnas_jax.networks import sizing
from sdnas_jax.spaces import published
from sdnas_jax.spaces import SPACES

SIDE, BATCH = 8, 16


def supernet(bf16):
  return nasbench201.Supernet(
    SPACES['nasbench201'], 3, channels=4, layers=1, bf16=bf16
  )


def network(bf16):
  genotype = published.CELLS['DARTS_V2'].genotype
  rest = {'channels': 4, 'layers': 1, 'auxiliary': False, 'bf16': bf16}
  return derived.Derived(genotype, 3, **rest)


@pytest.mark.parametrize('make', [supernet, network])
def test_it_stays_close_and_its_statistics_are_float32(monkeypatch, make):
  monkeypatch.setattr(nasbench201, 'STAGES', 1)
  rng = np.random.default_rng(0)
  images = rng.standard_normal((BATCH, SIDE, SIDE, 3)).astype(np.float32)
  net = make(False)
  tables = getattr(net, 'tables', {})
  mix = {kind: jnp.full(shape, 0.2) for kind, shape in tables.items()}
  given = (mix,) if tables else ()
  variables = sizing.variables(sizing.shapes(net, (SIDE, SIDE, 3), *given), 0)

  def gradient(net):
    def loss(params):
      own = {**variables, 'params': params}
      out, new = net.apply(
        own, images, *given, train=True, mutable=['batch_stats']
      )
      logits = out if tables else out[0]
      return jnp.sum(jnp.sin(logits)), (logits, new)

    return jax.jit(jax.grad(loss, has_aux=True))(variables['params'])

  ours, (logits, stats) = gradient(make(True))
  theirs, (expected, _) = gradient(net)
  for leaf in jax.tree.leaves((ours, logits, stats)):
    assert leaf.dtype == jnp.float32
  assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
  a, b = (
    np.concatenate([np.ravel(x) for x in jax.tree.leaves(grads)])
    for grads in (ours, theirs)
  )
  assert a @ b > 0.98 * np.linalg.norm(a) * np.linalg.norm(b) > 0

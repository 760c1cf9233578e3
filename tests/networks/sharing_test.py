"""The mixed operations of a source against one plain one for each edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdnas_jax.networks import ops
from sdnas_jax.spaces import SPACES
from tests import plain

PRIMITIVES = SPACES['darts'].primitives
EDGES, BATCH, SIZE, CHANNELS = 3, 4, (6, 5), 4


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('backend', ['grouped', 'native', 'shifted'])
def test_values_and_gradients_are_the_plain_operation_s(backend, stride):
  with jax.enable_x64(True):
    rng = np.random.default_rng(stride)
    x = jnp.asarray(rng.standard_normal((1, BATCH, *SIZE, CHANNELS)))
    mix = jnp.asarray(rng.random((EDGES, len(PRIMITIVES))))
    share = jnp.full((1, BATCH, 1, 1, 1), 1 / BATCH)
    ctx = ops.Context(True, share, backend)
    op = ops.MixedOp(PRIMITIVES, CHANNELS, stride)
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: op.init(key, jnp.float32(x), mix, ctx))[
      'params'
    ]
    params = jax.tree.map(
      lambda s: jnp.asarray(rng.standard_normal(s.shape)), shapes
    )

    def ours(params, mix, x):
      variables = {'params': params}
      return op.apply(variables, x, mix, ctx, mutable=['batch_stats'])[0]

    def theirs(params, mix, x):
      names = [PRIMITIVES[1:]] * EDGES
      return plain.mixed(params, names, x, mix, stride)

    def both(f):
      def loss(*at):
        out = f(*at)
        return jnp.sum(jnp.sin(out)), out

      grad = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
      return jax.jit(grad)(params, mix, x)

    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8),
      both(ours),
      both(theirs),
    )

"""The primitives, as Linen modules that act on many edges at once.

All edges that leave a node share their input, and most primitives share their
last steps. So a module computes one family of primitives on all those edges:
features are [edges, batch, height, width, channels], several primitives are
stacked on that first axis, and an input that all share has 1 there. What does
not depend on the edge (the pools, the identity) is computed once and
broadcasts.

An operation whose mixing weight on an edge is exactly zero is dead there: its
parameters are read as zero and have no gradient, nor has its weight, and its
running statistics rest. So the sum below is all operations times the mix, and
the CPU's kernels leave out what is dead without changing it. Of a mix that is
`open` nothing is dead, so that a weight of zero has a derivative.

Modules compute in their input's type, which may be bfloat16; parameters, the
normalisation's statistics and the logits are float32 at least.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

from flax import struct
import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from sdnas_jax.kernels import choice
from sdnas_jax.kernels import convolution
from sdnas_jax.kernels import mixture
from sdnas_jax.kernels import outputs
from sdnas_jax.kernels import pool
from sdnas_jax.kernels import separable

DROPS = 'drop_path', 'skip_dropout'


@struct.dataclass
class Context:
  """What a forward pass hands to every module.

  train: normalise by the batch's statistics (and, where `batch_stats` is
    mutable, fold them into the running ones) or by the running ones.
  share: [1, batch, 1, 1, 1] each row's share in those statistics, summing to 1;
    0 for the rows that only pad the batch.
  backend: one of `separable.BACKENDS`, of which `native` alone leaves out what
    is dead.
  drops: what is dropped in training, a key and a rate each: `drop_path`, an
    image's mixture on an edge (Larsson et al. 2017); `skip_dropout`, elements
    of an identity (P-DARTS, Chen et al. 2019).
  noise: the key of what is drawn where the operation is `noise`, in training or
    not; a pass that was given none draws by a fixed one. None: there is none.
  open: whether nothing is dead.
  """

  train: bool = struct.field(pytree_node=False)
  share: jax.Array
  backend: str = struct.field(pytree_node=False)
  drops: dict[str, Any] = struct.field(default_factory=dict)
  noise: jax.Array | None = None
  open: bool = struct.field(pytree_node=False, default=False)

  @property
  def native(self) -> bool:
    return self.backend == 'native'

  def dropping(self, mix: Mapping[str, Any]) -> 'Context':
    """With what a mix says of it, in training; and whether it is open."""
    drops = {name: mix[name] for name in DROPS if name in mix and self.train}
    return self.replace(
      drops=drops, noise=mix.get('noise', self.noise), open='open' in mix
    )

  def noisy(self, really: bool, key: jax.Array | None = None) -> 'Context':
    """With a key of the noise, if it really is needed."""
    if not really:
      return self
    key = jax.random.key(0) if key is None else key
    # The key itself is of what is dropped.
    return self.replace(noise=jax.random.fold_in(key, 1))

  def alive(self, p: jax.Array) -> jax.Array:
    """What is not dead of what p weighs: bool of its shape."""
    return jnp.ones(p.shape, bool) if self.open else p != 0

  def at(self, place: int) -> 'Context':
    """That of a place in the network, with other drops and noise."""
    drops = {
      name: (jax.random.fold_in(key, place), rate)
      for name, (key, rate) in self.drops.items()
    }
    noise = self.noise
    noise = None if noise is None else jax.random.fold_in(noise, place)
    return self.replace(drops=drops, noise=noise)

  def dropped(self, name: str, x: jax.Array, shape: Sequence[int]) -> jax.Array:
    """x, of which parts of that shape are dropped and the rest scaled up."""
    if name not in self.drops:
      return x
    key, rate = self.drops[name]
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(kept, x / jnp.asarray(1 - rate, x.dtype), 0)


def context(
  images: jax.Array,
  train: bool,
  present: jax.Array | None,
  backend: str,
  bf16: bool,
) -> Context:
  """That of a forward pass over images [batch, ...].

  Without `present`, all rows count; the backend 'auto' is the best at hand.
  """
  if present is None:
    present = jnp.ones(images.shape[:1], bool)
  share = (present / present.sum())[None, :, None, None, None]
  backend = choice.best(bf16) if backend == 'auto' else backend
  return Context(train, share.astype(images.dtype), backend)


def keep(alive: jax.Array | None, x: jax.Array) -> jax.Array:
  """x where `alive`, of x's first axes, holds; else zero without derivative."""
  if alive is None:
    return x
  return jnp.where(jnp.expand_dims(alive, range(alive.ndim, x.ndim)), x, 0)


def bound(shape: Sequence[int]) -> float:
  """1 / sqrt(fan in) of a kernel: edges first, outputs last, inputs between."""
  return 1 / math.sqrt(math.prod(shape[1:-1]))


def uniform(
  key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32
) -> jax.Array:
  """U(-bound, bound), PyTorch's default, which DARTS starts from."""
  return jax.random.uniform(key, shape, dtype, -1.0, 1.0) * bound(shape)


class Norm(nn.Module):
  """Batch normalisation per edge and channel, with PyTorch's constants."""

  affine: bool = False
  momentum: float = 0.9
  epsilon: float = 1e-5

  @nn.compact
  def __call__(
    self,
    x: jax.Array | outputs.Outputs,
    ctx: Context,
    p: jax.Array | None = None,
    shift: jax.Array | float = 0.0,
  ) -> jax.Array:
    """Normalises; with weights p [stack, edges], mixes a stack instead.

    Then x is [stack * edges, ...], or [stack, ...] where all edges share it. A
    p [1, edges] of type bool says what is alive, which is normalised.
    What is normalised is x + shift, of a constant for each edge and channel:
    the batch's mean takes it away again, and only the running one knows it.
    """
    shape = x.shape[0], 1, 1, 1, x.shape[-1]
    mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    var = self.variable('batch_stats', 'var', jnp.ones, shape)
    given, wide = x.dtype, jnp.promote_types(x.dtype, mean.value.dtype)
    p = jnp.ones((1, x.shape[0]), bool) if p is None else p
    plain = p.dtype == bool and not self.affine
    alive, p = ctx.alive(p), p.astype(wide)
    rows = alive.reshape(x.shape[0], -1).any(axis=1)
    p, bias = self.weights(p, rows, shape)
    if not ctx.native:  # foreign functions take it as it is
      x = x.astype(wide)
    if ctx.train:
      share = ctx.share / (x.shape[2] * x.shape[3])
      rest = share, alive, self.epsilon
      if isinstance(x, outputs.Outputs):
        own = x.kind, plain, p, bias, x.x, x.weights
        y, *batch = outputs.blend(*own, *rest)
      else:
        y, *batch = mixture.blend(p, bias, x, *rest, ctx.native)
      counts = not self.is_initializing()
      if counts and self.is_mutable_collection('batch_stats'):
        batch = batch[0] + shift, batch[1]
        rows = jnp.expand_dims(rows, (1, 2, 3, 4))
        for old, new in zip((mean, var), batch, strict=True):
          moved = self.momentum * old.value + (1 - self.momentum) * new
          old.value = jnp.where(rows, moved, old.value)
    else:
      scale = lax.rsqrt(var.value + self.epsilon)
      centre = mean.value - shift
      y = mixture.mix(p, bias, x, centre, scale, alive, ctx.native)
    return y.astype(given)

  def weights(self, p, rows, shape):
    """For each output, and if affine, for each channel; and the bias."""
    p = p[:, :, None]
    if not self.affine:
      return p, None
    stacked = len(p), -1, shape[-1]
    scale = self.param('scale', nn.initializers.ones, shape)
    bias = self.param('bias', nn.initializers.zeros, shape)
    scale, bias = (
      keep(rows, x).astype(p.dtype).reshape(stacked) for x in (scale, bias)
    )
    return p * scale, jnp.sum(p * bias, axis=0)[:, None, None, None]


def weigh(p: jax.Array, x: jax.Array, ctx: Context) -> jax.Array:
  """p_e x on each edge: [edges, ...] of p [edges] and x [1, ...]."""
  wide = jnp.promote_types(x.dtype, jnp.float32)
  own = x if ctx.native else x.astype(wide)
  given = p.astype(wide), own, ctx.alive(p), ctx.native
  return mixture.weigh(*given).astype(x.dtype)


def noise(key: jax.Array, x: jax.Array, stride: int, edges: int) -> jax.Array:
  """N(0, 1) on every edge, of the shape of x [1, ...] at a stride.

  The operation of R-DARTS's space S4 (Zela et al. 2020), which forgets x.
  """
  _, *shape = x[:, :, ::stride, ::stride].shape
  return jax.random.normal(key, (edges, *shape), x.dtype)


class Pointwise(nn.Module):
  """1x1 convolution without bias, one for each edge."""

  edges: int
  features: int

  @nn.compact
  def __call__(
    self, x: jax.Array, ctx: Context, alive: jax.Array | None = None
  ) -> jax.Array:
    """From [1, batch, ...] to [edges, ...]."""
    shape = self.edges, x.shape[-1], self.features
    kernel = keep(alive, self.param('kernel', uniform, shape))
    if ctx.native:
      return convolution.convolve(x, [kernel[:, None, None]], 1, True, alive)
    return jnp.einsum('bhwc,ncd->nbhwd', x[0], kernel.astype(x.dtype))


class Stem(nn.Module):
  """3x3 convolution and normalisation: the network's first layer."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
    """From [batch, height, width, channels] to [1, batch, ..., features]."""
    shape = 1, 3, 3, x.shape[-1], self.features
    kernel = self.param('kernel', uniform, shape).astype(x.dtype)
    # With three channels, a product costs little anywhere.
    x = convolution.multiply(x, kernel[0], 1)[None]
    return Norm(affine=True)(x, ctx)


class Classifier(nn.Module):
  """Global average pooling and a linear map with a bias."""

  classes: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """From [1, batch, height, width, channels] to logits [batch, classes]."""
    shape = 1, x.shape[-1], self.classes
    kernel = self.param('kernel', uniform, shape)
    bias = self.param('bias', nn.initializers.zeros, (self.classes,))
    x = x[0].astype(jnp.promote_types(x.dtype, kernel.dtype))
    return x.mean(axis=(1, 2)) @ kernel[0] + bias[None]


class ReluConvNorm(nn.Module):
  """ReLU, 1x1 convolution, normalisation: a cell's preprocessing."""

  edges: int
  channels: int
  affine: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
    x = Pointwise(self.edges, self.channels)(nn.relu(x), ctx)
    return Norm(self.affine)(x, ctx)


class FactorizedReduce(nn.Module):
  """Halves the resolution by two 1x1 convolutions, one pixel apart.

  An odd size is padded with a zero row or column, so that both halves agree.
  """

  edges: int
  channels: int
  affine: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, ctx: Context, p: jax.Array | None = None
  ) -> jax.Array:
    odd = [(0, n % 2) for n in x.shape[2:4]]
    x = jnp.pad(nn.relu(x), ((0, 0), (0, 0), *odd, (0, 0)))
    alive = None if p is None else ctx.alive(p[0])
    half = self.channels // 2
    halves = (
      Pointwise(self.edges, half)(x[:, :, ::2, ::2], ctx, alive),
      Pointwise(self.edges, self.channels - half)(
        x[:, :, 1::2, 1::2], ctx, alive
      ),
    )
    return Norm(self.affine)(jnp.concatenate(halves, axis=-1), ctx, p)


class Separable(nn.Module):
  """ReLU, depthwise and 1x1 convolution, normalisation.

  Several kernel sizes at once: each of `kernels`, a (size, dilation), serves
  `edges` edges, and the output stacks them on its first axis.
  """

  kernels: tuple[tuple[int, int], ...]
  edges: int
  channels: int
  stride: int = 1
  affine: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, ctx: Context, p: jax.Array | None = None
  ) -> jax.Array:
    count = len(self.kernels) * self.edges
    alive = jnp.ones(count, bool) if p is None else ctx.alive(p.reshape(count))
    kernels = []
    for n, (size, dilation) in enumerate(self.kernels):
      shape = self.edges, size, size, x.shape[-1]
      name = f'depthwise_{size}x{size}' + ('_dilated' if dilation > 1 else '')
      own = alive[n * self.edges : (n + 1) * self.edges]
      kernel = self.param(name, uniform, shape)
      kernels.append(keep(own, kernel))
    shape = count, x.shape[-1], self.channels
    pointwise = keep(alive, self.param('pointwise', uniform, shape))
    dilations = [dilation for _, dilation in self.kernels]
    given = x, kernels, pointwise, dilations, self.stride
    if ctx.train and ctx.native:
      x = separable.promise(*given)
    else:
      x = separable.convolve(*given, ctx.backend, alive)
    return Norm(self.affine)(x, ctx, p)


POOLS = ('max_pool_3x3', 'avg_pool_3x3')
# (size, dilation) of those made of two separable convolutions, and of one.
TWICE = {'sep_conv_3x3': (3, 1), 'sep_conv_5x5': (5, 1)}
ONCE = {'dil_conv_3x3': (3, 2), 'dil_conv_5x5': (5, 2)}


class MixedOp(nn.Module):
  """sum_o p_o op_o(x) on each of the edges that leave one node."""

  primitives: tuple[str, ...]
  channels: int
  stride: int

  @nn.compact
  def __call__(self, x: jax.Array, mix: jax.Array, ctx: Context) -> jax.Array:
    """From x [1, batch, ...], mix [edges, primitives] to [edges, ...]."""
    total, edges = 0.0, len(mix)
    mix = keep(ctx.alive(mix), mix)
    for branch, members in (
      (self.twice, TWICE),
      (self.once, ONCE),
      (self.pools, POOLS),
      (self.skip, ('skip_connect',)),
      (self.noise, ('noise',)),
    ):
      names = [name for name in members if name in self.primitives]
      if names:
        columns = [mix[:, self.primitives.index(name)] for name in names]
        total += branch(names, x, jnp.stack(columns), ctx, edges)
    return total

  def twice(self, names, x, p, ctx, edges):
    kernels = tuple(TWICE[n] for n in names)
    first = Separable(kernels, edges, self.channels, self.stride, name='first')
    second = Separable(kernels, edges, self.channels, name='second')
    return second(first(x, ctx, ctx.alive(p).reshape(1, -1)), ctx, p)

  def once(self, names, x, p, ctx, edges):
    kernels = tuple(ONCE[n] for n in names)
    own = Separable(kernels, edges, self.channels, self.stride, name='once')
    return own(x, ctx, p)

  def pools(self, names, x, p, ctx, edges):
    pooled = pool.both(x, self.stride, ctx.native)
    if len(names) < len(POOLS):
      pooled = pooled[POOLS.index(names[0])][None]
    return Norm(name='pools')(pooled, ctx, p)

  def skip(self, names, x, p, ctx, edges):
    if self.stride > 1:
      return FactorizedReduce(edges, self.channels, name='skip')(x, ctx, p)
    if 'skip_dropout' not in ctx.drops:
      return weigh(p[0], x, ctx)
    shape = edges, *x.shape[1:]
    x = ctx.dropped('skip_dropout', jnp.broadcast_to(x, shape), shape)
    return (jnp.expand_dims(p[0], (1, 2, 3, 4)) * x).astype(x.dtype)

  def noise(self, names, x, p, ctx, edges):
    y = noise(ctx.noise, x, self.stride, edges)
    return (jnp.expand_dims(p[0], (1, 2, 3, 4)) * y).astype(x.dtype)

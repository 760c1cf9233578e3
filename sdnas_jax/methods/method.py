"""A search method is one value: pure functions, by default first-order DARTS.

>>> def entropy(arch, mix, now, weight):
...   return weight * sum(-jnp.sum(p * jnp.log(p)) for p in mix.values())
>>> mine = Method(penalty=functools.partial(entropy, weight=0.1))

Numbers that a `functools.partial` holds by name are traced: a compiled step
serves all their values. What it holds by position, functions say, is part of
the program. What the host alone calls is not.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdnas_jax.bilevel import hypergrad as hypergrads
from sdnas_jax.methods import arch as archs
from sdnas_jax.spaces import space as spaces

Tree = Any
Arch = archs.Arch
Now = archs.Now
Mix = archs.Mix
TURNS = ('alternate', 'weights_first', 'joint')


class History(NamedTuple):
  """What a method may know of its stage: never the truth of a table.

  A stage that continues another counts on from that one's first epoch.
  """

  metrics: Sequence[Mapping[str, float]]  # an epoch each; what was measured
  genotypes: Sequence[Any]  # an epoch each
  alphas: Mapping[str, np.ndarray]  # [epochs done, ...] each
  rates: Mapping[str, float]  # the optimisers' numbers now
  epochs: int  # of the stage, in all


class Revision(NamedTuple):
  """What may happen between two epochs; nothing of it compiles anything."""

  arch: Arch | None = None  # of the same shapes
  rates: Mapping[str, float] = {}  # new values, as {'weights.decay': 3e-3}
  back: int | None = None  # restore the state after that epoch first
  stop: int | None = None  # end with that epoch's genotype


def normal(rng: np.random.Generator, net: Any, scale: float) -> Arch:
  """DARTS's first alphas, scale N(0, 1); alive is what an edge has.

  `net` is a supernet, of which its space, cells and tables are asked.
  """
  alphas = {
    kind: np.float32(scale * rng.standard_normal(shape))
    for kind, shape in net.tables.items()
  }
  mask = {
    kind: np.broadcast_to(net.space.alive(kind), shape).copy()
    for kind, shape in net.tables.items()
  }
  return Arch(alphas, mask)


def without_none(rng: np.random.Generator, net: Any, scale: float) -> Arch:
  """The same where `none` is not searched, if no genotype of the space has it.

  SDARTS, DARTS-PT and others search DARTS's space with seven operations.
  """
  arch, space = normal(rng, net, scale), net.space
  if space.genotype is spaces.Genotype:
    alive = np.array([name != 'none' for name in space.primitives])
    arch = arch._replace(mask={k: m & alive for k, m in arch.mask.items()})
  return arch


def alone(why: str) -> Callable[..., str]:
  """A `refuse` of all spaces but DARTS's kind; `why` is a sentence on one."""
  return lambda space, fields: (
    '' if space.genotype is spaces.Genotype else why.format(space.name)
  )


def first_none(why: str) -> Callable[..., str]:
  """The same, and of those whose edges do not all begin with `none`."""
  other = alone(why)

  def refuse(space, fields):
    if said := other(space, fields):
      return said
    if space.own or space.primitives[0] != 'none':
      return (
        f'it counts on none, which the space {space.name} lacks: take darts'
      )
    return ''

  return refuse


def resting(key: jax.Array, before: Arch, after: Tree, now: Now) -> Tree:
  """A `settle` by which alphas of edges with one operation or none stay."""
  del key, now
  stay = {
    kind: jnp.where(
      m.sum(axis=-1, keepdims=True) > 1, after[kind], before.alphas[kind]
    )
    for kind, m in before.mask.items()
  }
  return after | stay


def targets(space: spaces.Space) -> np.ndarray:
  """The node that each edge enters: int32 [edges]."""
  return np.array([target for _, target in space.edges], np.int32)


def genotype(
  space: spaces.Space, chosen: Mapping[str, Sequence[tuple[int, int]]]
) -> spaces.Genotype:
  """Of each kind's (edge, primitive), indices, in the order to be listed."""

  def pairs(own, node):
    return tuple(
      (space.primitives[best], space.edges[edge][0])
      for edge, best in own
      if space.edges[edge][1] == node
    )

  return spaces.Genotype.of(
    space,
    {k: {n: pairs(v, n) for n in space.targets} for k, v in chosen.items()},
  )


def drawn(
  draw: Callable[..., jax.Array], key: jax.Array, tables: Mapping[str, Any]
) -> dict[str, jax.Array]:
  """Random numbers for each kind's table: draw(key, shape)."""
  keys = jax.random.split(key, len(tables))
  pairs = zip(keys, tables.items(), strict=True)
  return {kind: draw(own, table.shape) for own, (kind, table) in pairs}


def strongest(space: spaces.Space, arch: Arch, mix: Mix) -> Any:
  """What the space derives from each operation's weight."""
  del arch
  return spaces.strongest(space, mix)


def pairs(space: spaces.Space, arch: Arch, mix: Mix) -> Any:
  """Every node's two largest weights but `none`'s, on whichever edges.

  What another space than DARTS's derives, if that has no such cells.
  """
  if space.genotype is not spaces.Genotype:
    return strongest(space, arch, mix)
  none = np.array([name == 'none' for name in space.primitives])

  def two(p, node):
    edges = np.array(space.entering(node))
    weights = np.where(none, -np.inf, p[edges])
    order = np.argsort(-weights, axis=None, kind='stable')[:2]
    rows, columns = np.unravel_index(order, weights.shape)
    return zip(edges[rows].tolist(), columns.tolist(), strict=True)

  def each(p):
    return [pair for node in space.targets for pair in two(p, node)]

  return genotype(space, {kind: each(mix[kind]) for kind in space.kinds})


def with_none(space: spaces.Space, arch: Arch, mix: Mix) -> Any:
  """Every node's two strongest edges, on each the best of all, even `none`."""
  if space.genotype is not spaces.Genotype:
    return strongest(space, arch, mix)
  each = {k: spaces.keep(space, mix[k], 2, none=True) for k in space.kinds}
  return spaces.Genotype.of(space, each)


def every_edge(space: spaces.Space, arch: Arch, mix: Mix) -> Any:
  """Every edge's best operation; those that are `none` vanish."""
  if space.genotype is not spaces.Genotype:
    return strongest(space, arch, mix)
  each = {k: spaces.keep(space, mix[k], none=True) for k in space.kinds}
  return spaces.Genotype.of(space, each)


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Method:
  """What a paper may change of a search; the first part is compiled.

  `relax` is what an architecture stands for: in validation, curvature, report
  and genotype. A step sees what `sample` makes of it, where there is one.
  """

  # (arch, now) -> mix
  relax: Callable[..., Mix] = archs.softmax
  # (key, arch, now, group that the step is of) -> mix; None: relax. With a key
  # `open` beside its tables, weights of 0 have a derivative
  sample: Callable[..., Mix] | None = None
  # (arch, mix, now) -> scalar, added to the architecture's loss
  penalty: Callable[..., jax.Array] = lambda arch, mix, now: jnp.zeros(())
  # (logits, batch) -> scalar, the alphas' loss on their half; None: the mean
  # cross-entropy
  criterion: Callable[..., jax.Array] | None = None
  # (hypergrads.Problem) -> gradient of the alphas, or hypergrads.Learned, the
  # method's own numbers too
  hypergrad: Callable[..., Tree] = hypergrads.first_order
  # (now) -> bool, whether the alphas have a step; or one for each of them, of
  # which those that rest keep their moments going
  moves: Callable[..., Any] = lambda now: True
  # (key, arch before, alphas after, now) -> alphas; the key is their draw's
  settle: Callable[..., Tree] = lambda key, before, after, now: after
  # (key, mix, loss, now) -> mix, in the weight step only; loss(mix, running),
  # with `running` normalised by the running statistics
  perturb: Callable[..., Mix] = lambda key, mix, loss, now: mix
  # (gradient, loss, w, mix, now) -> gradient of w, what the loss saw; gradient
  # is a rule of `rules.WEIGHTS`, loss(w, mix) a value and what it saw
  descend: Callable[..., tuple[Tree, Any]] = (
    lambda gradient, loss, w, mix, now: gradient(lambda w: loss(w, mix), w)
  )
  # (now) -> bool, whether both optimisers begin anew with a step; None: never
  restarts: Callable[..., jax.Array] | None = None
  # (own, gradients, owners, now) -> own, before each step of the alphas:
  # gradients of the weights, of the last step on the 'train' half, clipped, and
  # of this one's loss on the 'valid' half; owners is `instances.owners`'s list
  observe: Callable[..., Tree] | None = None
  # (arch, now) -> own, after each step; None: they stay
  remember: Callable[..., Tree] | None = None
  # (own, mix) -> tables of bool as `instances` has them: the weights that stand
  # still in a step, their momentum too
  held: Callable[..., Mix] | None = None
  turn: str = 'alternate'  # one of TURNS

  # (rng, supernet, scale) -> arch
  init: Callable[..., Arch] = normal
  # (history, arch, look) -> revision or None, before each epoch of a stage and
  # after its last, but once where a stage continues another by the same method;
  # look(mix) is the accuracy on the valid half; look(mix, n, size) that on part
  # n of so many of its images, augmented
  revise: Callable[..., Revision | None] | None = None
  # (space, arch, mix) -> genotype
  discretize: Callable[..., Any] = strongest
  reach: int = 0  # how many epochs `revise` may go back
  # Fields of the supernet that a config does not have.
  model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # Fields of the config that are filled where they are empty, 0 or ''.
  needs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # (space) -> stages, where the config has none: each what it overrides
  stages: Callable[..., Sequence[Mapping[str, Any]]] = lambda space: ()
  # (space, config's flat fields) -> why it cannot search so, a sentence, or ''
  refuse: Callable[..., str] = lambda space, fields: ''

  def draw(self, key: jax.Array, arch: Arch, now: Now, group: str) -> Mix:
    """The mix of a step of the 'alphas' or of the 'weights'."""
    if self.sample is None:
      return self.relax(arch, now)
    return self.sample(key, arch, now, group)

  def tree_flatten(self) -> tuple[tuple[Tree, ...], str]:
    """The numbers of the compiled functions; the functions are its shape."""
    return tuple(_numbers(getattr(self, name)) for name in _COMPILED), self.turn

  @classmethod
  def tree_unflatten(cls, turn: str, functions: tuple[Tree, ...]) -> 'Method':
    """The same without what the host calls."""
    return cls(**dict(zip(_COMPILED, functions, strict=True)), turn=turn)


_COMPILED = (
  *('relax', 'sample', 'penalty', 'criterion', 'hypergrad', 'moves', 'settle'),
  *('perturb', 'descend', 'restarts', 'observe', 'remember', 'held'),
)


class _Bound(NamedTuple):
  """A function with its first arguments, equal to another that has the same."""

  function: Callable[..., Any]
  first: tuple[Any, ...]

  def __call__(self, *args, **kwargs):
    return self.function(*self.first, *args, **kwargs)


def _numbers(function):
  if function is None or isinstance(function, jax.tree_util.Partial):
    return function
  if isinstance(function, functools.partial):
    bound = _Bound(function.func, function.args)
    return jax.tree_util.Partial(bound, **function.keywords)
  return jax.tree_util.Partial(function)

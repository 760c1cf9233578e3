"""DARTS-PT: operations by what the supernet loses without them (Wang 2021).

After a search as any, a second stage decides: a random edge of each kind keeps
the operation whose removal costs the most accuracy, then nodes keep the two
edges whose removal does, with `interval` epochs of training after each. The
weights' optimiser is made anew, at a tenth of the rate; that of the alphas
goes on.
"""

from sdnas_jax.methods import method
from sdnas_jax.methods import removal
from sdnas_jax.methods import topology


def darts_pt(
  interval: int = 5, seed: int = 2, decide: bool = False
) -> method.Method:
  """Decides every `interval` epochs of its second stage, in `seed`'s order."""
  if interval < 1:
    raise ValueError('interval must be at least 1')

  def revise(history, arch, look):
    done = len(history.metrics)
    due = done % interval == 0 or done == history.epochs - 1
    if not decide or done >= history.epochs or not due:
      return None
    for kind in arch.mask:
      arch = removal.decided(kind, arch, look, seed)
    return method.Revision(arch=arch)

  return method.Method(
    init=init, revise=revise, stages=lambda space: stages(space, interval)
  )


def stages(space, interval):
  """The search, and the decisions."""
  nodes = len(topology.pruned(space))
  # The last decision is before the last epoch, which the authors' code for
  # NAS-Bench-201 has one earlier.
  epochs = interval * (len(space.edges) + nodes - 1) + bool(nodes)
  return (
    {},
    {
      **{'options.decide': True, 'epochs': epochs},
      **{'weights.lr': 0.0025, 'weights.lr_min': 0.0025, 'distill.warmup': 0},
    },
  )


def init(rng, net, scale):
  """DARTS's, without `none`, and where edges lead; nodes to prune are named."""
  arch, space = method.without_none(rng, net, scale), net.space
  own = {'targets': method.targets(space), 'pruned': topology.pruned(space)}
  return arch._replace(own=own)

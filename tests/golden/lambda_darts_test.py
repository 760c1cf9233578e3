"""Lambda-DARTS against dr-faustus/Lambda-DARTS: on the page's two networks.

The released search on NAS-Bench-201 clips weights and alphas together; that is
computed here beside the step, to clip as it did.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdnas_jax import methods
from sdnas_jax.bilevel import optimizers
from sdnas_jax.bilevel import rules
from sdnas_jax.data import split
from sdnas_jax.methods import layers
from sdnas_jax.networks import supernet
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import search
from tests import toys
from tests.golden import filling
from tests.golden import given

GOLDEN = filling.load('lambda_darts')
EPS, LAM = float(GOLDEN['eps0']), float(GOLDEN['lambda'])
RATE = {'darts': 3e-4, 'nb201': 1e-4}  # of the alphas
DECAY, MOMENTUM = 3e-4, 0.9
close = functools.partial(filling.close, tolerance=1e-9)


def cell(s0, s1, p, w):
  """Two nodes of five edges; the output is their sum."""
  h = [jnp.tanh(s0 @ w['P0']), jnp.tanh(s1 @ w['P1'])]
  for node in (0, 1):
    total = 0.0
    for e, (target, source) in enumerate(GOLDEN['edges']):
      if target == node:
        x = h[source]
        total += p[e, 0] * x + p[e, 1] * jnp.tanh(x @ w['A'][e])
        total += p[e, 2] * w['v'][e][None] * x**2
    h.append(total)
  return h[2] + h[3]


class Net(supernet.Base):
  """The page's: of both kinds of cells, or of one between linear maps."""

  page: str = 'darts'

  @property
  def of(self):
    """The kind of each cell; None where it is a linear map."""
    if self.page == 'darts':
      return [('normal', 'reduce')[k] for k in GOLDEN['darts/cell_kind']]
    names = weights('nb201')
    count = sum(name.endswith('/P0') or 'lin' in name for name in names)
    cells = [f'cell{n}/P0' in names for n in range(count)]
    return ['cell' if own else None for own in cells]

  @property
  def cells(self):
    return tuple(kind for kind in self.of if kind)

  @nn.compact
  def __call__(self, images, mix, train=False, present=None):
    self.variable('batch_stats', 'none', jnp.zeros, ())
    w = {
      name: self.param(flat(name), nn.initializers.zeros, x.shape)
      for name, x in weights(self.page).items()
    }
    s0 = s1 = images @ w['stem/W']
    count = dict.fromkeys(self.cells, 0)
    for n, kind in enumerate(self.of):
      if kind is None:
        s1 = jnp.tanh(s1 @ w[f'cell{n}/lin/W'])
        continue
      own = mix[kind]
      own = own[count[kind]] if own.ndim == 3 else own
      count[kind] += 1
      s0 = s1 if kind == 'cell' else s0
      ours = {name: w[f'cell{n}/{name}'] for name in ('P0', 'P1', 'A', 'v')}
      s0, s1 = s1, cell(s0, s1, own, ours)
    return s1 @ w['classifier/W'] + w['classifier/b'][None]


def weights(page, part='w0'):
  """A page's arrays by the weights' names."""
  start = f'{page}/{part}/'
  return {k.removeprefix(start): v for k, v in GOLDEN.items() if start in k}


def flat(name):
  return name.replace('/', '_')


def batch(x, y):
  ones = np.ones(len(y))
  return split.Batch(
    *map(jnp.asarray, (x, np.int32(y), np.int32(ones), ones > 0))
  )


KINDS = {'darts': ('normal', 'reduce'), 'nb201': ('cell',)}
TURNS = {'darts': 'alternate', 'nb201': 'weights_first'}


def setup(page, epochs=2, **options):
  space = spaces.Space('toy', ('one', 'two', 'three'), 2, kinds=KINDS[page])
  made = methods.make('lambda_darts', options)
  return dataclasses.replace(
    toys.setup(weight=0.0),
    net=Net(space, GOLDEN[f'{page}/w0/classifier/b'].size, page=page),
    method=dataclasses.replace(made, turn=TURNS[page]),
    epochs=epochs,
  )


def begin(page, parts):
  """The state with the page's weights and alphas."""
  names = [f'{page}/alpha', *(f'{page}/alpha_{k}' for k in KINDS[page])]
  tables = [jnp.asarray(GOLDEN[name]) for name in names if name in GOLDEN]
  alphas = dict(zip(KINDS[page], tables, strict=True))
  arch = parts.method.init(np.random.default_rng(0), parts.net, 0.0)
  w = {flat(k): jnp.asarray(v) for k, v in weights(page).items()}
  variables = {'params': w, 'batch_stats': {'none': jnp.zeros(())}}
  rates = toys.RATES | {
    **{'weights.lr': 0.025, 'weights.lr_min': 0.025, 'weights.clip': 1e9},
    **{'weights.momentum': MOMENTUM, 'weights.decay': DECAY},
    **{'alphas.lr': RATE[page], 'alphas.b1': filling.BETA},
    'alphas.decay': filling.ALPHAS_DECAY,
  }
  arch = arch._replace(alphas=alphas)
  return search.init(parts, variables, arch, rates, 6, parts.net.classes)


def counted(page):
  """The cells' rows among all cells in network order, by kind."""
  cells = setup(page).net.cells
  return {k: [n for n, c in enumerate(cells) if c == k] for k in KINDS[page]}


@functools.partial(jax.jit, static_argnums=1)
def asked(w, page, given, mix):
  """dL/dp of each layer, by kind; and the loss."""
  parts = setup(page)

  def loss(mix):
    logits, _ = search.forward(
      parts.net, w, {'none': jnp.zeros(())}, given, mix
    )
    rows = optax.softmax_cross_entropy_with_integer_labels(logits, given.label)
    return rows.mean()

  value, grads = jax.value_and_grad(loss)(mix)
  return grads, value


def drawn(state, parts):
  """A mix a layer, as a weight step has it."""
  now = search.clock(state, parts)
  return parts.method.draw(filling.KEY, state.arch, now, 'weights')


def regularised(page):
  """The kind whose layers are to agree."""
  return KINDS[page][0]


@pytest.mark.parametrize('page', KINDS)
def test_what_layers_ask_and_how_far_they_agree(page):
  parts = setup(page)
  state, given = begin(page, parts), batch(GOLDEN['x'], GOLDEN['y'])
  mix, rows, kind = drawn(state, parts), counted(page), regularised(page)
  w = state.params['weights']
  g, value = asked(w, page, given, mix)
  close(value, GOLDEN[f'{page}/loss'])
  suffixes = {k: f'_{k}' if page == 'darts' else '' for k in KINDS[page]}
  for k, suffix in suffixes.items():
    close(mix[k], np.broadcast_to(GOLDEN[f'{page}/p{suffix}'], mix[k].shape))
    close(g[k], GOLDEN[f'{page}/g{suffix}'])
  d = jax.grad(layers.cosine)(g[kind])
  close(layers.cosine(g[kind]), GOLDEN[f'{page}/corr'])
  told = GOLDEN[f'{page}/d']
  close(d, told[rows[kind]])
  for other in set(rows) - {kind}:  # a reduction's layers do not count
    assert not told[rows[other]].any()
  step = EPS / optimizers.norm(d)
  close(step, GOLDEN[f'{page}/epsilon'])
  close(step * d, GOLDEN[f'{page}/pert'][rows[kind]])
  for way, name in ((1, 'plus'), (-1, 'minus')):
    apart = mix | {kind: mix[kind] + way * step * d}
    close(asked(w, page, given, apart)[1], GOLDEN[f'{page}/loss_{name}'])
  if page == 'darts':
    d = jax.grad(layers.signed)(g[kind])
    close(d, GOLDEN['darts/signcorr_d'][rows[kind]])
    told = GOLDEN['darts/signcorr_epsilon']
    close(EPS / optimizers.norm(d), told)


def training(state, batch, parts):
  """The loss of a weight step."""
  keys = jax.random.split(filling.KEY, 3)
  return search.training(state, keys, batch, parts, 'weights')


@jax.jit
def gradient(state, batch, parts, now):
  """Of the weights, before the clip."""
  loss, mix = training(state, batch, parts), drawn(state, parts)
  w = state.params['weights']
  return parts.method.descend(rules.plain, loss, w, mix, now)[0]


@pytest.mark.parametrize('page', KINDS)
@pytest.mark.parametrize('eps', [0.0, EPS])
def test_the_weights_gradient(page, eps):
  """By the difference, as released, and by the derivative that it means."""
  parts, data = setup(page, lam=LAM, eps=eps), batch(GOLDEN['x'], GOLDEN['y'])
  state = begin(page, parts)
  base, total = (gradient(state, data, parts, given.now(e, 2)) for e in (0, 1))
  reg = 'grad_reg' if eps else 'grad_reg_exact'
  found, told = [], []
  for name in weights(page):
    close(base[flat(name)], GOLDEN[f'{page}/grad_base/{name}'])
    if eps:
      close(total[flat(name)], GOLDEN[f'{page}/grad_total/{name}'])
    own = (total[flat(name)] - base[flat(name)]) / LAM
    found.append(own.ravel())
    told.append(GOLDEN[f'{page}/{reg}/{name}'].ravel())
  close(np.concatenate(found), np.concatenate(told))


def test_the_other_kinds_layers_would_give_another_gradient():
  """And so would the same direction the other way round."""
  parts = setup('darts', lam=LAM)
  state, data = begin('darts', parts), batch(GOLDEN['x'], GOLDEN['y'])
  base, total = (gradient(state, data, parts, given.now(e, 2)) for e in (0, 1))
  loss, mix = training(state, data, parts), drawn(state, parts)

  def all_layers(w):
    g = jax.grad(lambda mix: loss(w, mix)[0])(mix)
    return layers.cosine(jnp.concatenate([*g.values()]))

  other = jax.grad(all_layers)(state.params['weights'])
  names, page = weights('darts'), 'darts/grad_reg_exact'
  told = np.concatenate([GOLDEN[f'{page}/{name}'].ravel() for name in names])
  own, other = (
    np.concatenate([np.ravel(tree[flat(name)]) for name in names])
    for tree in (jax.tree.map(lambda a, b: (a - b) / LAM, total, base), other)
  )
  for wrong in (-other, -own):
    assert np.abs(wrong - told).max() > 1e-3 * np.abs(told).max()


@pytest.mark.parametrize('page', KINDS)
def test_loop(page):
  """The released steps, lambda rising and every step clipped."""
  lams = GOLDEN[f'loop/{page}/lambda']
  # The last of two epochs, in which the weight is the method's own number.
  made = [setup(page, lam=float(lam), eps=EPS) for lam in lams]
  state, buffer = begin(page, made[0]), 0.0
  state = state._replace(epoch=jnp.asarray(1, jnp.int32))
  kind = regularised(page)
  for t, parts in enumerate(made):
    train, valid = (
      batch(GOLDEN[f'loop/x_{of}'][t], GOLDEN[f'loop/y_{of}'][t])
      for of in ('train', 'valid')
    )
    args = filling.KEY, train, valid, parts
    free = filling.step(state, *args)  # of a clip that never acts
    late = page == 'nb201'
    before = state.arch if late else free.arch
    at = state._replace(params={**state.params, 'alphas': before.alphas})
    of_train, of_valid = (
      asked(s.params['weights'], page, own, drawn(s, parts))[0]
      for s, own in ((at, train), (free if late else state, valid))
    )
    told = GOLDEN[f'loop/{page}/corr_train'][t]
    close(layers.cosine(of_train[kind]), told)
    own = size = norm(state, free)
    if late:
      buffer += sum(chain(of_train, at))
      size = np.hypot(own, np.linalg.norm(buffer))
      close(size, GOLDEN[f'loop/{page}/clipnorm_joint'][t])
    else:
      close(size, GOLDEN[f'loop/{page}/clipnorm'][t])
      told = GOLDEN[f'loop/{page}/corr_valid'][t]
      close(layers.cosine(of_valid[kind]), told)
    clip = own * min(1, GOLDEN['loop/clip'] / (size + 1e-6))
    rates = state.rates | {'weights.clip': jnp.asarray(clip)}
    new = filling.step(state._replace(rates=rates), *args)
    if late:
      (buffer,) = filling.seen(state, new).values()
      of_valid, _ = asked(new.params['weights'], page, valid, drawn(at, parts))
      told = GOLDEN[f'loop/{page}/corr_valid'][t]
      close(layers.cosine(of_valid[kind]), told)
    state = new._replace(rates=free.rates)
    w, alphas = state.params['weights'], state.params['alphas']
    for name, own in alphas.items():
      suffix = f'_{name}' if page == 'darts' else ''
      close(own, GOLDEN[f'loop/{page}/alpha{suffix}'][t])
    names = GOLDEN[f'loop/{page}/param_names']
    found = [jnp.linalg.norm(w[flat(name)]) for name in names]
    close(found, GOLDEN[f'loop/{page}/w_l2'][t])
  for name, told in weights(f'loop/{page}', 'w_after4').items():
    close(w[flat(name)], told)


def norm(before, after):
  """Of the weights' gradient between two states, without a clip."""
  old, new = (
    optax.tree_utils.tree_get(x.opt, 'trace')['weights']
    for x in (before, after)
  )
  w = before.params['weights']
  grads = jax.tree.map(
    lambda m, n, w: n - MOMENTUM * m - DECAY * w, old, new, w
  )
  return float(optimizers.norm(grads))


def chain(g, state):
  """The alphas' gradients by those of the mixes."""
  for kind, alpha in state.params['alphas'].items():
    p = jax.nn.softmax(alpha)
    of_p = g[kind].sum(axis=0)
    yield p * (of_p - jnp.sum(p * of_p, axis=-1, keepdims=True))


def test_schedules():
  """lambda(e) is the slope's factor; the rates are DARTS's cosine."""
  for name, lam in (('darts_default_E50', 0.125), ('nb201_script_E100', 0.25)):
    told = GOLDEN[f'sched/lambda_{name}']
    epochs = len(told)
    method = methods.make('lambda_darts', {'lam': lam})

    def loss(w, mix):
      """Its layers ask for (w, 1) and (1, w): their cosine is 2 w/(1 + w^2)."""
      g = jnp.stack([jnp.stack([w, 1.0]), jnp.stack([1.0, w])])
      return jnp.sum(g[:, None] * mix['cell']), None

    w, mix = jnp.asarray(0.7), {'cell': jnp.ones((2, 1, 2))}
    base = jax.grad(loss, has_aux=True)(w, mix)[0]
    slope = 2 * (1 - w**2) / (1 + w**2) ** 2
    found = [
      (base - method.descend(rules.plain, loss, w, mix, now)[0]) / slope
      for now in (given.now(e, epochs) for e in range(epochs))
    ]
    np.testing.assert_allclose(found, told, rtol=1e-9, atol=1e-12)
    lr = [optimizers.cosine(0.025, 0.001, e, epochs) for e in range(epochs)]
    close(lr, GOLDEN[f'sched/lr_{name.split("_")[0]}_E{epochs}'])


def test_genotype():
  space = spaces.Space('seven', tuple(map(str, GOLDEN['geno/primitives'])))
  alphas = {kind: GOLDEN[f'geno/alpha_{kind}'] for kind in space.kinds}
  method, arch = methods.make('lambda_darts', {}), given.arch(alphas)
  found = method.discretize(space, arch, method.relax(arch, None))
  for kind, graph in found.graphs.items():
    np.testing.assert_array_equal(
      given.numbers(space, graph), GOLDEN[f'geno/{kind}']
    )

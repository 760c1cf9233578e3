"""The cache of compiled kernels under failure, each case its own process.

The libraries are compiled once; elsewhere a script by the name of c++ hands out
copies of them, and counts these.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sdnas_jax import compilation
from sdnas_jax.kernels import build

ROOT = pathlib.Path(__file__).parent.parent.parent

# What a first use says.
LOAD = """
import json, warnings
import tests.conftest
from sdnas_jax.kernels import choice

with warnings.catch_warnings(record=True) as said:
  warnings.simplefilter('always')
  how = [choice.best() for _ in range(2)][-1]
print(json.dumps({'how': how, 'said': [str(w.message) for w in said]}))
"""
# And what a network computes.
NETWORK = """
import json, pathlib, warnings
import tests.conftest
import jax, jax.numpy as jnp, numpy as np
from sdnas_jax.kernels import choice, convolution, mixture, separable
from tests import toys

def numbers():
  parts = toys.setup(layers=1)
  state = toys.state(parts)
  images = np.random.default_rng(0).random((4, *toys.IMAGE), np.float32)
  mix = jax.tree.map(jax.nn.softmax, state.params['alphas'])

  @jax.jit
  @jax.value_and_grad
  def loss(weights):
    variables = {'params': weights, 'batch_stats': state.stats}
    logits, _ = parts.net.apply(
      variables, images, mix, True, mutable=['batch_stats']
    )
    return jnp.sum(jnp.sin(logits))

  leaves = jax.tree.leaves(loss(state.params['weights']))
  return np.concatenate([np.ravel(x) for x in leaves]).tolist()

def sums():
  rng = np.random.default_rng(0)
  x, g = (rng.standard_normal((2, 37, 5, 6, 3), np.float32) for _ in range(2))
  kernels = rng.standard_normal((2, 3, 3, 3), np.float32)
  point = rng.standard_normal((2, 3, 3), np.float32)
  share = np.full((1, 37, 1, 1, 1), 1 / 37, np.float32)

  def loss(*both):
    z = separable.convolve(x, both[:1], both[1], [1], 1, 'native')
    return jnp.sum(g * z)

  dense = rng.standard_normal((2, 3, 3, 3, 3), np.float32)

  def convolved(kernels):
    return jnp.sum(g * convolution.convolve(x[:1], [kernels], 1, True))

  found = (
    jax.grad(convolved)(dense),
    *jax.grad(loss, (0, 1))(kernels, point),
    *mixture.moments(x, share, np.ones(2, bool), True),
    *mixture.products(g, x, np.ones((1, 2), bool), True),
  )
  return np.concatenate([np.ravel(x) for x in found]).tolist()

with warnings.catch_warnings(record=True) as said:
  warnings.simplefilter('always')
  got = {'numbers': numbers(), 'how': choice.best()}
if got['how'] == 'native':
  got['sums'] = sums()
got['said'] = [str(w.message) for w in said]
names = [p.read_text() for p in pathlib.Path('/proc/self/task').glob('*/comm')]
got['pool'] = sum(name.startswith('tf_XLAEigen') for name in names)
print(json.dumps(got))
"""

# Waits until as many compile at once as it was told to.
COMPILER = """#!{python}
import os, pathlib, shutil, sys, tempfile, time
log, limit = pathlib.Path({log!r}), time.monotonic() + 60
os.close(tempfile.mkstemp(dir=log)[0])
while len(list(log.iterdir())) < {together} and time.monotonic() < limit:
  time.sleep(0.01)
source = pathlib.Path(sys.argv[-3]).stem
(library,) = pathlib.Path({libraries!r}).glob(source + '-*')
shutil.copy(library, sys.argv[-1])
"""


def environment(cache, **change):
  kept = {k: v for k, v in os.environ.items() if k not in ('CXX', 'NPROC')}
  return {**kept, 'XDG_CACHE_HOME': str(cache), **change}


def start(script, *args, **change):
  return subprocess.Popen(
    [sys.executable, '-c', script],
    cwd=ROOT,
    env=environment(*args, **change),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  out, error = process.communicate(timeout=300)
  assert process.returncode == 0, error
  return json.loads(out)


def load(*args, **change):
  """In silence."""
  got = finish(start(LOAD, *args, **change))
  assert got == {'how': 'native', 'said': []}


def network(*args, **change):
  return finish(start(NETWORK, *args, **change))


def libraries(cache):
  return sorted((cache / 'sdnas_jax' / 'native').iterdir())


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """A cache with the libraries in it, which the suite has compiled already."""
  if not any(map(shutil.which, ('c++', 'g++', 'clang++'))):
    pytest.skip('there is no compiler')
  cache = tmp_path_factory.mktemp('cache')
  own = compilation.folder() / 'native'
  (cache / 'sdnas_jax' / 'native').mkdir(parents=True)
  for source in build.USUAL if 'CXX' not in os.environ else ():
    for path in own.glob(f'{source}-{build.library(source, "float32")[1]}-*'):
      shutil.copy(path, cache / 'sdnas_jax' / 'native')
  load(cache)
  stems = [path.stem.split('-')[0] for path in libraries(cache)]
  assert stems == sorted(build.USUAL)
  return cache


@pytest.fixture(scope='module')
def native(cache):
  """What the network computes with it."""
  return network(cache, NPROC='2')


@pytest.fixture
def compiler(cache, tmp_path):
  """Makes a PATH whose only compiler logs its calls in a folder."""

  def make(together=1):
    log, script = tmp_path / 'log', tmp_path / 'bin' / 'c++'
    log.mkdir()
    script.parent.mkdir()
    script.write_text(
      COMPILER.format(
        python=sys.executable,
        log=str(log),
        together=together,
        libraries=str(libraries(cache)[0].parent),
      )
    )
    script.chmod(0o755)
    return str(script.parent), log

  return make


def same(one, two):
  np.testing.assert_allclose(
    one['numbers'], two['numbers'], rtol=1e-4, atol=1e-5
  )


def test_a_compiled_library_serves_in_silence(native):
  assert native['how'] == 'native' and not native['said']


def test_without_a_compiler_a_network_still_runs(native, tmp_path):
  got = network(tmp_path, PATH='')
  assert got['how'] == 'shifted' and len(got['said']) == 1
  assert got['said'][0].startswith('there is no C++ compiler')
  same(got, native)


@pytest.mark.parametrize(
  'compiler, says',
  [
    ('/nowhere/c++ -O1', '$CXX names no compiler: /nowhere/c++;'),
    (str(ROOT), '$CXX names no compiler'),
    ('"', '$CXX names no compiler'),
    ('false', 'compiling the C++ kernels failed'),
    ('true', 'no C++ kernels could be loaded'),
  ],
)
def test_a_bad_compiler_is_one_warning(tmp_path, compiler, says):
  got = finish(start(LOAD, tmp_path, CXX=compiler))
  assert got['how'] == 'shifted' and len(got['said']) == 1
  assert got['said'][0].startswith(says)


@pytest.mark.parametrize('kept', [0, 100, 20_000, 'garbage'])
def test_a_broken_library_is_compiled_again(cache, compiler, tmp_path, kept):
  path, log = compiler()
  shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
  whole, broken = libraries(cache)[1], libraries(tmp_path)[1]
  garbage = np.random.default_rng(0).bytes(5000)
  data = garbage if kept == 'garbage' else whole.read_bytes()[:kept]
  broken.write_bytes(data)
  load(tmp_path, PATH=path)
  assert len(list(log.iterdir())) == 1
  assert len(libraries(tmp_path)) == len(build.USUAL)
  assert broken.read_bytes() == whole.read_bytes()
  load(tmp_path, PATH=path)
  assert len(list(log.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_done_without(compiler, tmp_path):
  path, log = compiler()
  file, spare = tmp_path / 'file', tmp_path / 'spare'
  file.touch()
  spare.mkdir()
  load(file / 'cache', PATH=path, TMPDIR=str(spare))
  assert len(list(log.iterdir())) == len(build.USUAL)
  assert not list(spare.iterdir())


def test_two_processes_compile_at_once(compiler, tmp_path):
  path, log = compiler(together=2 * len(build.USUAL))
  both = [start(LOAD, tmp_path, PATH=path) for _ in range(2)]
  for process in both:
    finish(process)
  assert len(list(log.iterdir())) == 2 * len(build.USUAL)
  assert len(libraries(tmp_path)) == len(build.USUAL)


def test_another_source_type_or_header_is_another_library(
  compiler, tmp_path, monkeypatch
):
  folder = pathlib.Path(build.__file__).parent
  copy = shutil.copytree(folder, tmp_path / 'native')
  monkeypatch.setattr(build, '__file__', str(copy / 'build.py'))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setenv('PATH', compiler()[0])
  monkeypatch.delenv('CXX', raising=False)

  def version(source='pool', dtype='float32'):
    return build.library.__wrapped__(source, dtype)[1]

  first = version()
  others = {version(dtype='float64'), version('sums')}
  for name in ('pool.cc', 'common.h'):
    with (copy / name).open('a') as file:
      file.write('// more')
    others.add(version())
    shutil.copy(folder / name, copy / name)
  assert len(others - {first}) == 4
  (copy / 'sums.cc').unlink()  # none of its business
  assert version() == first
  assert len(libraries(tmp_path)) == 5


def test_one_thread_computes_what_two_do(cache, native):
  one = network(cache, NPROC='1')  # the size of XLA's pool
  if sys.platform == 'linux':
    assert one['pool'] == 1 and native['pool'] == 2
  same(one, native)
  assert one['sums'] == native['sums']  # bit for bit

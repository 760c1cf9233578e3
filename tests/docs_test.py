"""The documentation: the site is built, and its commands are run.

A block of commands, or what follows in it, that begins with `# costly` is not.
Configs are cut down to seconds, but for what a command itself says.
"""

import contextlib
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from sdnas_jax import experiments
from sdnas_jax.methods import METHODS

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
  *('tour.md', 'install.md', 'index.md', 'report.md', 'recipes/data.md'),
  *('recipes/cifar.md', 'recipes/resume.md', 'recipes/sweep.md'),
  'recipes/devices.md',
]
BLOCK = re.compile(r'^```(sh|python)\n(.*?)^```', re.DOTALL | re.MULTILINE)
LOOP = re.compile(r'for (\w+) in ([^;]*); do\n(.*?)\ndone', re.DOTALL)


def blocks(page):
  """(language, text without what is costly) of a page."""
  for language, text in BLOCK.findall(page.read_text()):
    kept = text.split('# costly')[0]
    if kept.strip():
      yield language, kept


def commands(text):
  """Each as a list of words, loops written out."""

  def unrolled(found):
    bodies = (found[3].replace(f'${found[1]}', v) for v in found[2].split())
    return '\n'.join(bodies)

  text = LOOP.sub(unrolled, text.replace('\\\n', ' '))
  for line in text.splitlines():
    if words := shlex.split(line, comments=True):
      yield words


def small(config):
  """A config of the same task and fields, in seconds."""
  task = config.get('task')
  if task == 'study':
    config.seeds = config.repeats = config.randoms = 1
    config.baselines = ''
    for part in ('search', 'evaluate'):
      small(config[part])
  if task in ('search', 'evaluate'):
    config.epochs, config.batch_size, config.data.examples = 2, 16, 56
    config.model.layers, config.model.channels = 1, 2
    config.weights.warmup = 0
  if task == 'search':
    config.distill.warmup = config.alphas.warmup = 0
    config.sharpness.batches = config.sharpness.products = 1
  if task == 'evaluate':
    config.data.holdout = 16 if config.data.holdout else 0
    config.weights.auxiliary = 0.0
  return config


@pytest.fixture
def shell(here, tmp_path, monkeypatch):
  """Runs a command's words in a folder of its own."""
  load = experiments.load
  monkeypatch.setattr(experiments, 'load', lambda path: small(load(path)))
  rng = np.random.default_rng(0)
  for name in ('daisy', 'rose'):
    folder = tmp_path / 'flowers' / name
    folder.mkdir(parents=True)
    for n in range(40):
      side = 16 + n % 3
      pixels = rng.integers(0, 255, (side, 24, 3), np.uint8)
      Image.fromarray(pixels).save(folder / f'{n}.png')

  def run(words):
    if '=' in words[0]:  # a variable that JAX reads first
      script = 'import sys; from sdnas_jax import launch; launch.run()'
      name, value = words[0].split('=', 1)
      own = {**os.environ, name: value, 'PYTHONPATH': str(ROOT)}
      given = [*words[2:], '--dry_run']
      return subprocess.run(
        [sys.executable, '-c', script, *given], cwd=tmp_path, env=own
      ).returncode
    if words[0] == 'sdnas':
      return here(*words[1:], cwd=tmp_path)[0]
    assert words[:2] == ['python', '-m'], words
    with contextlib.chdir(tmp_path), monkeypatch.context() as patch:
      patch.setattr(sys, 'argv', words[2:])
      patch.delitem(sys.modules, words[2], raising=False)
      try:
        runpy.run_module(words[2], run_name='__main__', alter_sys=False)
      except SystemExit as end:
        return end.code or 0
    return 0

  return run


@pytest.mark.parametrize('name', PAGES)
def test_the_commands_of_a_page_run(name, shell, tmp_path):
  names = {}
  for language, text in blocks(ROOT / 'docs' / name):
    if language == 'python' and 'get_config' in text:  # a file, as it says
      (tmp_path / 'configs').mkdir()
      (tmp_path / 'configs' / 'mine.py').write_text(text)
    elif language == 'python':
      with contextlib.chdir(tmp_path):
        exec(text, names)
    else:
      for words in commands(text):
        assert shell(words) == 0, words


def test_the_commands_of_the_methods_pages_are_no_nonsense(here, tmp_path):
  asked = 0
  for page in sorted((ROOT / 'docs' / 'methods').glob('*.md')):
    if page.name == 'adding.md':
      continue
    for _, text in blocks(page):
      for words in commands(text):
        assert words[0] == 'sdnas', words
        code, _, error = here(*words[1:], '--dry_run', cwd=tmp_path)
        assert code == 0, (words, error)
        asked += 1
  assert asked >= len(METHODS)


def test_a_space_and_an_operation_of_one_s_own(tmp_path):
  for name in ('sdnas_jax', 'configs'):
    shutil.copytree(ROOT / name, tmp_path / name)
  spaces = tmp_path / 'sdnas_jax' / 'spaces'
  pages = [
    ROOT / 'docs' / 'recipes' / f'{n}.md' for n in ('space', 'operation')
  ]
  (small_space, named), (op, large, known) = (
    [text for language, text in blocks(page) if language == 'python']
    for page in pages
  )
  (spaces / 'small.py').write_text(small_space)
  (spaces / 'large.py').write_text(large)
  for path, text in (
    (spaces / '__init__.py', named + known),
    (tmp_path / 'sdnas_jax' / 'networks' / 'ops.py', op),
  ):
    with path.open('a') as file:
      file.write(text)
  script = (
    'import sys; from absl.testing import flagsaver\n'
    'from sdnas_jax import command, launch, parallel\n'
    'parallel.start = lambda: None\n'
    'for words in sys.argv[1:]:\n'
    '  sys.argv = words.split()\n'
    '  with flagsaver.flagsaver():\n'
    '    assert launch.main(sys.argv) == 0\n'
  )
  every = [
    ' '.join([*words, '--dry_run'])
    for page in pages
    for language, text in blocks(page)
    if language == 'sh'
    for words in commands(text)
  ]
  done = subprocess.run(
    [sys.executable, '-c', script, *every],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0 and len(every) == 2, done.stderr
  assert 'depthwise_7x7' in done.stdout


def test_the_site_is_built_without_a_warning(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', str(tmp_path)],
    cwd=ROOT,
    env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  page = (tmp_path / 'methods' / 'gdas' / 'index.html').read_text()
  assert '<math' in page and '\\operatorname' not in page
  assert not re.findall(r'(?:src|rel="stylesheet" href)="https?:', page)


def test_the_links_of_what_is_beside_the_site_lead_somewhere():
  for path in ROOT.glob('*.md'):
    for link in re.findall(r'\]\((?!https?:|#)([^)#]+)', path.read_text()):
      assert (ROOT / link).exists(), f'{path.name}: {link}'

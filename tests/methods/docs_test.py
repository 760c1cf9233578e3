"""The page 'Add your method', followed as a reader would; what it says."""

import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from sdnas_jax.methods import METHODS

ROOT = pathlib.Path(__file__).parent.parent.parent
SCRIPT = """
import sys
import numpy as np
from sdnas_jax import launch

code = launch.main(sys.argv)
from sdnas_jax import methods
from sdnas_jax.methods import arch as archs

method = methods.make('entropy', {'weight': 0.3})
p = np.float32([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
q = np.float32([[1.0, 0.0, 0.0]])
now = archs.Now(np.int32(0), np.int32(3), np.int32(4))
found = method.penalty(None, {'normal': p, 'reduce': q}, now)
rows = [np.log(2), -(0.2 * np.log(0.2) + 0.3 * np.log(0.3) + 0.5 * np.log(0.5))]
np.testing.assert_allclose(found, 0.3 * 0.75 * sum(rows) / 3, rtol=1e-6)
sys.exit(code)
"""


def test_the_method_of_the_page_is_added_and_runs(tmp_path):
  page = (ROOT / 'docs/methods/adding.md').read_text()
  page = page[page.index('## Add your method') :]
  own, named = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
  assert len(own.splitlines()) + len(named.splitlines()) < 30
  (command,) = re.findall(r'```sh\n(.*?)```', page, re.DOTALL)
  flags = command.replace('\\\n', ' ').split()[2:]
  for name in ('sdnas_jax', 'configs', 'launch.py'):
    copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
    copy(ROOT / name, tmp_path / name)
  folder = tmp_path / 'sdnas_jax/methods'
  (folder / 'entropy.py').write_text(own)
  with (folder / '__init__.py').open('a') as file:
    file.write(named)
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, *flags, '--dry_run'],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(tmp_path)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert 'supernet_parameters' in done.stdout
  assert (tmp_path / 'runs/entropy/plan.json').exists()


@pytest.mark.parametrize('name', METHODS)
def test_a_method_is_a_file_of_that_name_under_60_lines(name):
  path = pathlib.Path(inspect.getfile(METHODS[name]))
  assert path.stem == name and len(path.read_text().splitlines()) < 60

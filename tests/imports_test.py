"""Imports point one way, from the tasks down to the mathematics."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent / 'sdnas_jax'
# What each folder or module may import of the package, besides itself.
ALLOWED = {
  'spaces': {'errors'},
  'launch': {
    *(
      'command',
      'errors',
      'experiments',
      'malloc',
      'parallel',
      'runs',
      'tasks',
    ),
  },
  'interface': {
    *('data', 'errors', 'experiments', 'malloc', 'methods', 'report', 'runs'),
    *('spaces', 'tasks'),
  },
  'command': {'errors', 'experiments'},
  'experiments': {'errors'},
  'errors': set(),
  'parallel': {'errors'},
  'progress': {'parallel'},
  'tf': set(),
  'compilation': {'malloc'},
  'malloc': set(),
  'analysis': {'errors', 'report', 'spaces'},
  'bilevel': set(),
  'data': {'errors', 'parallel', 'progress', 'tf'},
  'kernels': {'compilation', 'parallel'},
  'networks': {'kernels', 'spaces'},
  'methods': {'bilevel', 'errors', 'networks', 'progress', 'spaces'},
  'report': {'spaces'},
  'steps': {'analysis', 'bilevel', 'data', 'methods', 'spaces'},
  'runs': {
    *('analysis', 'errors', 'malloc', 'methods', 'parallel', 'report'),
    *('data', 'progress', 'spaces', 'steps'),
  },
  'tasks': {
    *('analysis', 'bilevel', 'compilation', 'data', 'errors', 'kernels'),
    *('malloc', 'methods', 'networks', 'parallel', 'progress', 'report'),
    *('runs', 'spaces', 'steps'),
  },
}
FILES = sorted(ROOT.rglob('*.py'))


def imported(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module:
      for alias in node.names:
        yield f'{node.module}.{alias.name}'.split('.')
    elif isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name.split('.')


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
  part = path.relative_to(ROOT).parts[0].removesuffix('.py')
  if part == '__init__' or path.name == '__main__.py':  # doors of the house
    return
  ours = {names[1] for names in imported(path) if names[0] == 'sdnas_jax'}
  assert ours - {part} <= ALLOWED[part]


def test_the_spaces_know_no_jax():
  for path in (ROOT / 'spaces').rglob('*.py'):
    assert 'jax' not in {names[0] for names in imported(path)}


def test_only_parallel_names_the_mesh():
  for path in FILES:
    if path.name != 'parallel.py':
      text = path.read_text()
      assert 'PartitionSpec' not in text and 'Mesh' not in text

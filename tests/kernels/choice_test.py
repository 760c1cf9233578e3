"""What `auto` is: by default, by what was noted, and by a damaged note."""

import json
import os

import jax
from ml_collections import ConfigDict
import pytest

from sdnas_jax import parallel
from sdnas_jax.kernels import build
from sdnas_jax.kernels import choice
from sdnas_jax.kernels import separable
from sdnas_jax.tasks import check
from sdnas_jax.tasks import fields


@pytest.fixture
def file(tmp_path, monkeypatch):
  """Where choices are noted; asked anew by each test, and after it."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(choice, 'FILE', 'depthwise.json')
  choice.noted.cache_clear()
  yield choice.path()
  choice.noted.cache_clear()


def on(monkeypatch, backend, compiler=True):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(build, 'available', lambda dtype: compiler)


def here(**ways):
  return json.dumps({jax.devices()[0].device_kind: ways})


@pytest.mark.parametrize(
  'backend, compiler, float32, bfloat16',
  [
    ('cpu', True, 'native', 'native'),
    ('cpu', False, 'shifted', 'shifted'),
    ('gpu', True, 'grouped', 'grouped'),
    ('tpu', False, 'grouped', 'grouped'),
  ],
)
def test_the_default(file, monkeypatch, backend, compiler, float32, bfloat16):
  on(monkeypatch, backend, compiler)
  assert (choice.best(), choice.best(True)) == (float32, bfloat16)
  file.write_text('{"another kind": {"float32": "dense", "bfloat16": "dense"}}')
  choice.noted.cache_clear()
  assert (choice.best(), choice.best(True)) == (float32, bfloat16)


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_what_was_noted_of_this_kind_of_device(file, monkeypatch, backend):
  on(monkeypatch, backend)
  monkeypatch.setattr(build, 'begin', None)  # has nothing to compile
  file.write_text(here(float32='dense', bfloat16='space_to_batch'))
  choice.prepare(False)
  assert (choice.best(), choice.best(True)) == ('dense', 'space_to_batch')


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_native_is_not_taken_where_it_is_not(file, monkeypatch, backend):
  on(monkeypatch, backend, compiler=False)
  file.write_text(here(float32='native', bfloat16='native'))
  default = 'shifted' if backend == 'cpu' else 'grouped'
  assert choice.best() == choice.best(True) == default
  others = [way for way in separable.BACKENDS if way != 'native']
  assert choice.ways(False) == choice.ways(True) == others


def test_all_ways_are_there_on_a_cpu_with_a_compiler(monkeypatch):
  on(monkeypatch, 'cpu')
  assert choice.ways(False) == [*separable.BACKENDS]


@pytest.mark.parametrize(
  'content',
  [
    *(b'', b'{"cpu": {"float32": "dense"', b'\xff', b'[' * 10_000),
    *(b'[]', b'3', b'{"cpu": "dense"}', b'{"cpu": {"float32": "danse"}}'),
    b'{"cpu": {"float32": ["dense"]}}',
  ],
)
def test_a_damaged_note_is_one_sentence(file, content):
  file.write_bytes(content)
  with pytest.warns(UserWarning, match='is damaged.*remove it') as told:
    assert choice.best() == choice.best(True) in ('native', 'shifted')
  assert len(told) == 1 and len(str(told[0].message).splitlines()) == 1


def test_no_folder_is_no_note(file, monkeypatch):
  file.write_text(here(float32='dense'))
  assert choice.read()
  monkeypatch.setenv('XDG_CACHE_HOME', os.devnull)
  assert choice.read() == {}


def test_hosts_compare_what_they_noted(file, monkeypatch):
  said = []
  monkeypatch.setattr(parallel, 'most', lambda *n: said.append(n) or [*n])
  for way in ('dense', 'grouped'):
    file.write_text(here(float32=way))
    choice.noted.cache_clear()
    check.hosts(ConfigDict())
  assert said[0] != said[1]


def test_native_is_refused_where_no_cpu_computes(monkeypatch):
  on(monkeypatch, 'gpu')
  with pytest.raises(ValueError, match="knows no gpu: leave it 'auto'"):
    fields._native(bf16=False)

"""Wrong calls of the real `launch.py`: one sentence, exit code 2, no folder.

Kinds of mistakes, each with some members; what runs well is in launch_test.
"""

import json
import os
import re
import time

import numpy as np
import pytest

from sdnas_jax.spaces import published

DIGITS, TRAIN = 'configs/search_digits.py', 'configs/evaluate_digits.py'
LONG = 'a' * 1_000_000


@pytest.fixture
def refused(here, tmp_path):
  """Calls `main` with a dry run, which must be refused; returns why."""

  def call(config, *flags):
    workdir, begun = tmp_path / 'new', time.monotonic()
    code, _, error = here(
      *(f'--config={config}', f'--workdir={workdir}', '--dry_run', *flags)
    )
    assert code == 2 and not workdir.exists()
    assert error.startswith('error: ') and len(error.splitlines()) == 1
    assert len(error) < 3000 and time.monotonic() - begun < 20
    return error

  return call


@pytest.fixture
def written(tmp_path):
  """Writes a config file: what get_config() does with one that is right."""

  def write(*lines, base='search_digits'):
    head = (
      'import sys',
      'from ml_collections import ConfigDict, config_dict',
      'def get_config():',
    )
    body = (
      f'from configs import {base}',
      f'config = {base}.get_config()',
      *lines,
    )
    file = tmp_path / 'mine.py'
    file.write_text('\n  '.join(['\n'.join(head), *body, 'return config\n']))
    return file

  return write


@pytest.mark.parametrize(
  'value', ['None', '{"task": "search"}', '[]', 'dict', '3', '"x"']
)
@pytest.mark.parametrize('flags', [(), ('--config.epochs=3',)])
def test_what_is_no_config(refused, written, value, flags):
  error = refused(written(f'return {value}'), *flags)
  assert re.search(r'mine.py: its get_config\(\) must return a ConfigD', error)


def test_a_file_without_get_config(refused, tmp_path):
  (tmp_path / 'mine.py').write_text('get_config = 3')
  assert 'not no function' in refused(tmp_path / 'mine.py')


@pytest.mark.parametrize(
  'line, says',
  [
    ('sys.exit(0)', 'line 6: SystemExit: 0$'),
    ('raise BaseException("x")', 'line 6: BaseException: x$'),
    ('raise GeneratorExit', 'line 6: GeneratorExit$'),
    ('raise StopIteration', 'line 6: StopIteration$'),
    ('raise ValueError', 'line 6: ValueError$'),
    ('raise ValueError("a\\n\\n b")', 'line 6: ValueError: a b$'),
    ('raise KeyError', 'line 6: KeyError$'),
    ('raise AttributeError("\\n")', 'line 6: AttributeError'),
    ('raise FileNotFoundError(2, "none", "f")', 'line 6: FileNotFoundError'),
    (f'raise ValueError("a" * {len(LONG)})', r'ValueError: a+\.\.\.a+$'),
    (
      'raise type("Odd", (Exception,), {"__str__": lambda self: 1 / 0})()',
      'line 6: Odd$',
    ),
    ('config.epochs = 1 /', r'SyntaxError: .*line 6\)'),
    ('config.me = config', 'RecursionError'),
    (
      'config.seed = config.get_ref("epochs") // 0',
      'ZeroDivisionError',
    ),
    (
      'del config.seed; config.seed = config_dict.required_placeholder(int)',
      'RequiredValueError',
    ),
  ],
)
def test_whatever_a_config_file_raises(refused, written, line, says):
  assert re.search(says, refused(written(line)))


@pytest.mark.parametrize(
  'change, says',
  [
    ('{"weights": 3}', 'weights must be a section of fields, weights.lr, .* 3'),
    ('{"data": "x"}', "data must be a section of fields, data.name, .* 'x'"),
    ('{"model": None}', 'model must be a section .* not None'),
    ('{"options": 3}', "options must be a section of the method's own.* not 3"),
    ('{"options": None}', 'options must be a section'),
    (
      '{"options": {1: 2}}',
      'config.options has a field 1: name fields by text',
    ),
    ('{"stages": {"epochs": 1}}', r"with a comma .* \({'epochs': 1},\), not"),
    ('{"stages": "abc"}', "stages must be of type tuple, .*, not 'abc'"),
    ('{"stages": ({"model": {1: 2}},)}', r'stages\[0\].model has a field 1'),
    ('{"epochs": {"x": 1}}', 'epochs must be of type int, not a section'),
    ('{"epochs": print}', 'config.epochs must be a number, text, tuple or sec'),
    ('{"weights": {1: 2}}', 'config.weights has a field 1: name fields by te'),
    ('{1: 2}', 'name all its fields by text'),
    ('{"task": b"search"}', 'must be a number, text'),
    ('{"task": 3}', 'unknown task 3: choose one of'),
    ('{"space": ("darts",)}', r"unknown space \('darts',\): did you mean"),
    (f'{{"task": "a" * {len(LONG)}}}', r"unknown task 'a+\.\.\.a+': choose"),
    (f'{{"a" * {len(LONG)}: 1}}', r"unknown config field 'a+\.\.\.a+': choose"),
    ('{"rank": {"samples": 1}}', 'is of the space nasbench201 alone: set'),
  ],
)
def test_fields_that_are_not_what_they_should_be(
  refused, written, change, says
):
  file = written(f'config = ConfigDict({{**config.to_dict(), **{change}}})')
  assert re.search(says, refused(file))


def test_fields_that_are_not_there(refused, written):
  error = refused(written('del config.model', 'del config.seed'))
  assert 'lacks seed, model.channels, model.layers, model.depthwise' in error
  assert 'such as ConfigDict()' in refused(written('del config.options'))


@pytest.mark.parametrize(
  'flags',
  [
    ['--config.space=nasbench201'],
    ['--config.space=nasbench201', '--config.rank.samples=0'],
    ['--config.space=nasbench201', '--config.model.affine=True'],
  ],
)
def test_another_space_says_where_to_start(refused, flags):
  assert 'start from configs/search_nasbench201.py' in refused(DIGITS, *flags)


@pytest.mark.parametrize(
  'field, value, says',
  [
    (
      'model.channels',
      '10000000000000000000',
      'must be at most 10000, not 1000',
    ),
    ('model.layers', '10000000000000000000', 'must be at most 200, not'),
    ('epochs', '10000000000000000000', 'must be at most 1000000, not'),
    ('batch_size', '1' * 4000, r'must be at most 1000000, not 1+\.\.\.1+$'),
    ('epochs', '1' * 5000, 'must be of type int: .* Exceeds the limit'),
    ('data.examples', '10000000000000000000', 'must be at most'),
    ('distill.teachers', '10000000', 'must be at most 1000'),
    ('sharpness.landscape', '10000001', 'must be at most 1000'),
    ('weights.lr', 'inf', 'must be finite in single precision, not inf'),
    ('weights.lr', 'nan', 'must be finite in single precision, not nan'),
    ('weights.lr', '1e300', 'must be finite in single precision, not 1e'),
    ('weights.momentum', 'nan', 'must be finite'),
    ('epochs', 'abc', 'config.epochs must be of type int: .*abc'),
    ('weights.lr', '1,2', 'config.weights.lr must be of type float: .*1,2'),
    ('data.flip', 'maybe', 'config.data.flip must be of type bool: .*maybe'),
    ('weights', '3', 'config.weights must be of type dict: .*3'),
    ('data.name', LONG, r"unknown data set 'a+\.\.\.a+': choose"),
    ('method', LONG, r"unknown method 'a+\.\.\.a+': choose"),
    ('stages', "({'epochs':1})", r'must be a dict .* \({.epochs.: 1},\), not'),
    ('epochs.more', '3', 'config.epochs has no fields: it is 16'),
    ('0', '3', '--config.0=3 names no field'),
    ('', '3', '--config.=3 names no field'),
    ('foo', '3', "unknown config field 'foo': choose one of"),
    ('foo.bar', '3', "unknown config field 'foo.bar': choose one of"),
    ('distil.weight', '3', 'did you mean distill.weight'),
    ('foo', '[' * 1000, "unknown config field 'foo'"),
    (LONG, '3', r'unknown flag --config.a+\.\.\.a+=3: see --help'),
  ],
)
def test_values_on_the_command_line(refused, field, value, says):
  assert re.search(says, refused(DIGITS, f'--config.{field}={value}'))


def test_a_network_of_absurd_size(refused):
  flags = '--config.model.layers=100', '--config.model.channels=1000'
  assert 'a network of billions of weights' in refused(DIGITS, *flags)
  assert 'a network of billions of weights' in refused(TRAIN, *flags)


@pytest.mark.parametrize(
  'value', ['10**19', '-10**19', 'float("nan")', '1e300']
)
def test_a_method_s_numbers(refused, written, value):
  lines = 'config.method = "gdas"', f'config.options.tau_max = {value}'
  assert 'options.tau_max must be in [-1000000, 1' in refused(written(*lines))


@pytest.mark.parametrize(
  'stage, says',
  [
    ({'epochs': 0}, r'stages\[1\]: epochs must be at least 1, not 0'),
    ({'model.layers': 10**19}, r'stages\[1\]: model.layers must be at most'),
    ({'distill.warmup': 17}, r'stages\[1\]: distill.warmup \(17\) leaves'),
    ({'options.x': 3}, r'stages\[1\]: darts has no options'),
    ({'method': LONG}, r"stages\[1\]: unknown method 'a+\.\.\.a+'"),
    ({LONG: 3}, r"unknown field of stages\[1\] 'a+\.\.\.a+'"),
    ({'carry': LONG}, r"unknown carry of stages\[1\] 'a+\.\.\.a+'"),
  ],
)
def test_a_stage_is_named(refused, written, stage, says):
  assert re.search(says, refused(written(f'config.stages = ({{}}, {stage})')))


@pytest.mark.parametrize(
  'flag, says',
  [
    ('--workdr=x', 'unknown flag --workdr: did you mean --workdir?'),
    ('--epochs=3', 'unknown flag --epochs: did you mean --config.epochs?'),
    ('--layers=3', 'did you mean --config.model.layers?'),
    ('--nonsense', 'unknown flag --nonsense: see --help'),
    (f'--{LONG}', 'unknown flag --aaa'),
    (f'--config={LONG}.py', 'no config file aaa'),
    (f'--config={DIGITS}:{LONG}', 'takes 0 positional arguments but 1'),
    ('--config=README.md', 'SyntaxError'),
    ('--workdir=gs://bucket/run', 'gs://bucket/run is remote: give a local f'),
    ('--workdir=s3:/bucket/run', 'is remote: give a local folder'),
    (f'--workdir={LONG}', 'File name too long: choose another --workdir'),
    ('--workdir=~no_such_user/x', 'no home is known for ~no_such_user/x'),
    ('--config.data.dir=~no_such_user/x', 'no home is known for ~no_such_use'),
  ],
)
def test_flags(refused, flag, says):
  assert says in refused(DIGITS, flag)


@pytest.mark.parametrize(
  'change, says',
  [
    ({'search': 3}, 'search must be a section of fields, not 3'),
    ({'evaluate': [1]}, r'evaluate must be a section of fields, not \[1\]'),
    ({'variants': 'x'}, 'variants must be a section'),
    ({'seeds': 10**19}, 'seeds must be at most 1000'),
    ({'repeats': 1000, 'seeds': 1000}, '1000000 runs: lower them to 10000'),
    ({'field': 'stages'}, "unknown field 'stages'"),
    ({'variants': {'A': {'search': {'epochs': 0}}}}, 'variants.A: epochs must'),
    ({'variants': {'A': {'evaluate': {'epochs': 0}}}}, 'evaluate: epochs must'),
  ],
)
def test_studies(refused, written, change, says):
  line = f'config = ConfigDict({{**config.to_dict(), **{change}}})'
  assert re.search(says, refused(written(line, base='demo')))


@pytest.mark.parametrize(
  'given, says',
  [
    ('1' * 5000, 'no architecture has the index 1'),
    (LONG, r"unknown genotype 'a+\.\.\.a+': choose one of"),
    (f'{LONG}.json', 'is not a genotype .* File name too long'),
    ('gs://bucket/genotype.json', 'is not a genotype .* No such file'),
    (f'|none~0|+|none~0|none~1|+|none~0|none~1|none~2|{LONG}', "a': end it be"),
  ],
)
def test_genotypes(refused, given, says):
  assert re.search(says, refused(TRAIN, f'--config.genotype={given}'))


def test_a_tilde_is_the_home(here, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  fields = published.CELLS['GDAS_V1'].genotype.fields
  (tmp_path / 'g.json').write_text(json.dumps(fields))
  images = np.zeros((40, 8, 8, 1), np.uint8)
  np.savez(tmp_path / 'a.npz', images=images, labels=np.arange(40) % 2)
  code, _, error = here(
    *(f'--config={TRAIN}', '--workdir=~/run', '--dry_run'),
    *('--config.genotype=~/g.json', '--config.batch_size=8'),
    *('--config.data.name=arrays', '--config.data.dir=~/a.npz'),
    '--config.data.holdout=8',
  )
  assert code == 0, error
  assert (tmp_path / 'run' / 'plan.json').exists()
  assert not {'~', 'gs:', 's3:'} & {*os.listdir()}

"""Files that were damaged between two starts: made again, or told of."""

import shutil

import numpy as np
import pytest

from sdnas_jax import errors
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import locks
from sdnas_jax.spaces import SPACES
from sdnas_jax.tasks import report
from sdnas_jax.tasks import search
from tests import torture
from tests import toys
from tests.torture import damage

# What follows from the rest, and what does not.
MADE = (
  *('genotype.json', 'result.json', 'report.html', 'alphas.png'),
  *('normal.svg', 'landscape.npz', 'landscape.png'),
)
KEPT = 'config.json', 'metrics.csv', 'genotypes.jsonl', 'alphas.npz'
PICTURES = 'alphas.png', 'normal.svg', 'reduce.svg', 'landscape.png'


def config():
  own = damage.config()
  own.sharpness.update(every=0, spectrum=False)  # which compile for long
  return own


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """A finished run, and one that was killed after two of its epochs."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(SPACES, 'toy', toys.SPACE)
    made = damage.ended(config(), tmp_path_factory.mktemp('runs'))
    yield {path.name: path for path in made}


@pytest.fixture
def copied(runs, tmp_path):
  """Copies one, into a folder of the name that its pictures shall tell."""
  return lambda name: shutil.copytree(runs[name], tmp_path / 'whole')


def again(workdir):
  """The same command on the same folder."""
  search.run(config(), workdir, False)


def refused(workdir):
  """Why it is, in a sentence; and no file is touched."""
  before = torture.contents(workdir)
  with pytest.raises(errors.BadInput) as told:
    again(workdir)
  assert torture.contents(workdir) == before and '\n' not in str(told.value)
  return str(told.value)


def left(workdir):
  """What no clock has a part in, of a run that nothing is wrong with."""
  assert not artifacts.broken(workdir)
  pictures = {name: (workdir / name).read_bytes() for name in PICTURES}
  return torture.left(workdir) | pictures


def spoil(workdir, way, *names):
  for name in names:
    # Of a seed by which what is read is flipped: alphas.npz has much besides.
    torture.spoil(workdir / name, way, np.random.default_rng(4))


def change(path, old, new):
  """Replaces what occurs in a file, once."""
  content = path.read_bytes()
  assert old in content
  path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize('way', torture.DAMAGES)
@pytest.mark.parametrize(
  'names', [MADE, ['checksums.json']], ids=['files', 'checksums']
)
def test_what_a_finished_run_can_make_again_has_the_same_bytes(
  runs, copied, names, way
):
  workdir = copied('whole')
  spoil(workdir, way, *names)
  again(workdir)
  assert torture.contents(workdir) == torture.contents(runs['whole'])


def test_what_reads_the_same_is_made_again_too(runs, copied):
  """Or its new checksum would be that of the damage."""
  workdir = copied('whole')
  change(workdir / 'genotypes.jsonl', b'\n', b'\v')  # which ends a line, too
  change(workdir / 'alphas.npz', b'\x21\x00', b'\x21\x01')  # a date
  again(workdir)
  assert torture.contents(workdir) == torture.contents(runs['whole'])


def test_what_a_killed_run_can_do_without_changes_nothing(runs, copied):
  workdir = copied('half')
  spoil(workdir, 'halved', 'genotype.json', 'report.html', 'checksums.json')
  again(workdir)
  assert left(workdir) == left(runs['whole'])


@pytest.mark.parametrize('way', torture.DAMAGES)
@pytest.mark.parametrize('name', KEPT)
@pytest.mark.parametrize('run', ['half', 'whole'])
def test_what_cannot_be_made_again_is_named(copied, run, name, way):
  workdir = copied(run)
  spoil(workdir, way, name)
  told = refused(workdir)
  assert name in told or 'another config' in told


@pytest.mark.parametrize(
  'name, old, new, says',
  [
    ('metrics.csv', b'0.', b'1.', 'was changed'),
    ('genotypes.jsonl', b'skip_connect', b'avg_pool_3x3', 'was changed'),
    ('config.json', b'"python": "3', b'"python": "2', 'is not as checksums'),
  ],
)
@pytest.mark.parametrize('run', ['half', 'whole'])
def test_what_was_edited_is_named(copied, run, name, old, new, says):
  """It can be read as well as before."""
  workdir = copied(run)
  change(workdir / name, old, new)
  assert f'{name} {says}' in refused(workdir)


@pytest.mark.parametrize('way', torture.DAMAGES)
@pytest.mark.parametrize(
  'name',
  [
    *('metrics.csv', 'genotypes.jsonl', 'genotype.json', 'result.json'),
    'alphas.png',
  ],
)
def test_a_report_says_what_was_damaged(copied, capsys, name, way):
  workdir = copied('whole')
  spoil(workdir, way, name)
  report.write(workdir)
  told = f'{name} is not as the run has left it'
  assert told in (workdir / 'report.html').read_text()
  assert told in capsys.readouterr().out


def test_a_damaged_checkpoint_costs_its_epoch(runs, copied, capsys):
  workdir = copied('half')
  spoil(workdir, 'flipped', 'checkpoints/2/layout/metadata')
  again(workdir)
  assert '2 is damaged: going on from another' in capsys.readouterr().out
  assert left(workdir) == left(runs['whole'])


def test_without_any_whole_checkpoint_it_does_not_go_on(copied):
  workdir = copied('half')
  for number in (1, 2):
    spoil(workdir, 'flipped', f'checkpoints/{number}/layout/metadata')
  assert f'all checkpoints in {workdir}' in refused(workdir)


def test_without_checkpoints_it_begins_anew(runs, copied, capsys):
  workdir = copied('half')
  shutil.rmtree(workdir / 'checkpoints')
  again(workdir)
  said = 'no checkpoint is left: the search begins anew'
  assert said in capsys.readouterr().out
  assert left(workdir) == left(runs['whole'])


def test_a_second_process_leaves_the_first_one_s_files_alone(copied):
  workdir = copied('half')
  with locks.alone(workdir):
    assert 'another process is at the run' in refused(workdir)


def test_what_a_kill_left_is_gone_after_the_next_start(runs, copied):
  workdir = copied('whole')
  (workdir / '.metrics.csv.0a1b2c3d').write_text('epoch')
  shutil.copytree(workdir / 'checkpoints/3', workdir / 'checkpoints/2')
  again(workdir)
  assert torture.contents(workdir) == torture.contents(runs['whole'])

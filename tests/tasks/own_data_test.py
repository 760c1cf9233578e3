"""Two commands on a folder of pictures: a search, and a training."""

import html
import json

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from sdnas_jax.tasks import evaluate

SMALL = (
  *('--config.batch_size=32', '--config.epochs=2', '--config.data.cutout=0'),
  *('--config.model.layers=1', '--config.model.channels=2'),
  *('--config.steps_per_call=2', '--config.data.name=folder'),
)


def cut(folder, part, count, seed):
  """Pieces of scikit-learn's two photographs, of sizes drawn at random."""
  rng = np.random.default_rng(seed)
  for file in ('china.jpg', 'flower.jpg'):
    photograph = Image.fromarray(datasets.load_sample_image(file))
    place = folder / part / file.removesuffix('.jpg')
    place.mkdir(parents=True)
    for n in range(count):
      width, height = rng.integers(12, 90, 2).tolist()
      left, top = (
        int(rng.integers(0, whole - own))
        for whole, own in zip(photograph.size, (width, height), strict=True)
      )
      piece = photograph.crop((left, top, left + width, top + height))
      piece.save(place / f'{n:03}{(".png", ".jpg", ".webp")[n % 3]}')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('own')
  cut(folder, 'train', 110, 0)
  cut(folder, 'test', 15, 1)
  return folder


@pytest.fixture
def call(here, folder):
  def called(name, workdir, *flags, place=folder):
    config = f'--config=configs/{name}_cifar.py'
    where = f'--config.data.dir={place}', f'--workdir={workdir}'
    return here(config, *SMALL, *where, *flags)

  return called


def test_two_commands_find_and_train_a_cell_on_a_folder(call, tmp_path):
  found, trained = tmp_path / 'found', tmp_path / 'trained'
  search = '--config.data.size=12', '--config.distill.warmup=1'
  code, said, error = call('search', found, *search)
  assert code == 0, error
  assert '2 classes, 110 + 110 examples' in said
  note = said.split('examples\n')[1].split('Total')[0].replace('\n', ' ')
  assert 'to 12 x 12: --config.data.size sets another side' in note
  how = f'--config.genotype={found / "genotype.json"}', '--config.data.size=16'
  code, said, error = call(
    'evaluate', trained, *how, '--config.weights.auxiliary=0'
  )
  assert code == 0, error
  assert '2 classes, 220 + 30 examples' in said
  lines = said.replace(str(tmp_path), '').splitlines()
  assert max(map(len, lines)) <= 80
  result = json.loads((trained / 'result.json').read_text())
  assert 0 <= result['test_error'] <= 100
  for workdir, side in ((found, 12), (trained, 16)):
    known = json.loads((workdir / 'config.json').read_text())['data']
    assert known['names'] == ['china', 'flower']
    assert (known['shape'], known['tests']) == ([side, side, 3], 30)
    page = html.unescape((workdir / 'report.html').read_text())
    assert 'china, flower' in page and f'{side} x {side} x 3' in page
  net, variables = evaluate.load(trained)
  assert net.classes == 2 and variables['params']


def test_a_run_goes_on_with_its_own_pictures_alone(call, tmp_path):
  place, workdir = tmp_path / 'pictures', tmp_path / 'run'
  cut(place, '', 20, 0)
  how = '--config.data.size=8', '--config.distill.weight=0', '--config.epochs=1'
  how += ('--config.batch_size=16',)
  for _ in range(2):  # which finds it done
    code, _, error = call('search', workdir, *how, place=place)
    assert code == 0, error
  picture = place / 'china' / '000.png'
  picture.write_bytes((place / 'flower' / '000.png').read_bytes())
  code, _, error = call('search', workdir, *how, place=place)
  assert code == 2 and 'run on other data' in error


def test_without_a_test_part_some_are_held_out(call, folder, tmp_path):
  how = '--dry_run', '--config.weights.auxiliary=0', '--config.data.size=16'
  place = folder / 'train'
  code, _, error = call('evaluate', tmp_path, *how, place=place)
  assert code == 2 and 'set data.holdout' in error
  how += ('--config.data.holdout=40',)
  code, _, error = call('evaluate', tmp_path, *how, place=place)
  assert code == 0, error
  plan = json.loads((tmp_path / 'plan.json').read_text())
  assert (plan['train_examples'], plan['test_examples']) == (180, 40)


def test_a_study_takes_a_folder(here, folder, tmp_path):
  fields = {'name': 'folder', 'dir': folder, 'size': 8}
  flags = [
    f'--config.{part}.data.{name}={value}'
    for part in ('search', 'evaluate')
    for name, value in fields.items()
  ]
  more = '--config.evaluate.data.holdout=0', '--config.search.data.examples=0'
  code, said, error = here(
    *('--config=configs/demo.py', f'--workdir={tmp_path}', '--dry_run'),
    *(*flags, *more, '--config.evaluate.data.examples=0'),
  )
  assert code == 0, error
  assert 'plan.json is written' in said


def test_a_folder_of_no_classes_is_a_sentence(call, folder, tmp_path):
  place = folder / 'train' / 'china'
  how = ('--config.distill.warmup=1',)
  code, _, error = call('search', tmp_path / 'run', *how, place=place)
  assert code == 2 and error.count('\n') == 1
  assert 'no folders of pictures' in error

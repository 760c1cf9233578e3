"""Every bad config gets one sentence that names the fix."""

import importlib
import pathlib

import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import pytest

from configs import demo
from configs import evaluate_imagenet
from configs import search_cifar
from configs import search_digits
from configs import search_nasbench201
from sdnas_jax import errors
from sdnas_jax.data import prepared
from sdnas_jax.data import sources
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import folder
from sdnas_jax.runs import record
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.spaces import SPACES
from sdnas_jax.steps import evaluate as training
from sdnas_jax.tasks import check
from sdnas_jax.tasks import evaluate
from sdnas_jax.tasks import fields
from sdnas_jax.tasks import study

INF, NAN = float('inf'), float('nan')


def config(**change):
  """As a user's own file may be: nothing is locked and no type is kept."""
  made = search_digits.get_config().to_dict()
  for path, value in change.items():
    *folders, name = path.split('.')
    tree = made
    for part in folders:
      tree = tree.setdefault(part, {})
    tree[name] = value
  return ConfigDict(made)


def test_every_config_file_passes(tmp_path):
  files = sorted(pathlib.Path(demo.__file__).parent.glob('*.py'))
  for file in files:
    made = importlib.import_module(f'configs.{file.stem}').get_config()
    if made.task == 'study':
      study.plan(made, tmp_path)
    elif made.task == 'report':
      fields.every(artifacts.flat(made.to_dict()), fields.REPORT)
    else:
      getattr(check, made.task)(made)
  assert len(files) >= 7


def test_the_paper_s_table_1_is_the_default():
  made = search_cifar.get_config()
  assert (made.distill.warmup, made.distill.weight) == (25, 1.0)
  assert (made.distill.teachers, made.epochs, made.batch_size) == (2, 50, 64)


@pytest.mark.parametrize(
  'change, says',
  [
    ({'distil.weight': 1.0}, 'did you mean distill.weight'),
    ({'space': 'dart'}, 'did you mean darts'),
    ({'method': 'nonesuch'}, 'choose one of beta_darts, daas, darts,'),
    ({'distill.metric': 'KL'}, 'unknown distill.metric'),
    ({'distill.teacher': 'median'}, 'ema, lag, mean_teacher, mesa, window'),
    ({'distill.teacher': 'windows'}, 'did you mean window'),
    ({'weights.rule': 'sma'}, 'did you mean sam'),
    ({'alphas.rule': 'a3m'}, 'unknown alphas.rule'),
    ({'alphas.rule': 'a2m', 'method': 'snas'}, 'snas moves alphas and weights'),
    ({'alphas.rule': 'a2m', 'method': 'gdas'}, 'gdas draws at random'),
    ({'alphas.rule': 'a2m', 'method': 'darts2'}, 'darts2 has another gradient'),
    ({'weights.balance': 1.5}, r'weights.balance must be in \[0'),
    ({'weights.eta': -0.1}, 'weights.eta must be at least'),
    (
      {'distill.warmup': 8, 'distill.ramp': 9},
      r'distill.ramp \(9\) behind a warm-up of 8 is longer than the 16',
    ),
    (
      {'distill.teacher': 'mesa', 'distill.decay': 1.0},
      'keeps the first random weights',
    ),
    ({'alphas.optimizer': 'adm'}, 'did you mean adam'),
    ({'distill.teachers': 0}, 'teachers must be at least 1'),
    ({'distill.temperature': 0.0}, 'temperature must be at least'),
    ({'distill.warmup': 25}, r'distill.warmup \(25\) leaves none of the'),
    # Pairs of fields that bound each other.
    ({'distill.warmup': 16}, r'distill.warmup \(16\) leaves none of the 16'),
    (
      {'distill.teacher': 'lag', 'distill.teachers': 16},
      r'distill.teachers \(16\) leaves none of the 16',
    ),
    ({'weights.warmup': 17}, r'weights.warmup \(17\) is longer than the 16'),
    ({'weights.lr_min': 0.5}, r'lr_min \(0.5\) is above weights.lr'),
    ({'batch_size': 0}, 'batch_size must be at least 1'),
    ({'batch_size': 6.4}, 'must be of type int'),
    ({'data.flip': 1}, 'must be of type bool'),
    ({'epochs': True}, 'must be of type int'),
    ({'alphas.b1': 1.0}, 'alphas.b1 must be in'),
    ({'seed': -1}, 'seed must be'),
    ({'task': None}, 'must be of type str'),
    ({'weights.lr': float('inf')}, 'must be finite'),
    ({'weights.clip': 0.0}, 'weights.clip must be at least'),
    ({'alphas.warmup': 16}, 'leaves none of the 16'),
    (
      {'method': 'darts_es', 'sharpness.of': 'weights'},
      'darts_es cannot search so.*set --config.sharpness.of=alphas',
    ),
    ({'sharpness.landscape': 1}, 'must be odd'),
    ({'sharpness.landscape': 10}, 'must be odd'),
  ],
)
def test_bad_fields(change, says):
  with pytest.raises(errors.BadInput, match=says):
    check.search(config(**change))


def test_every_number_is_bounded():
  known = fields.SEARCH | fields.OWN['nasbench201'] | fields.EVALUATE
  known |= study.FIELDS
  for name, (kind, _) in known.items():
    for value in {int: (10**19, -(10**19)), float: (1e39, INF, NAN)}.get(
      kind, ()
    ):
      with pytest.raises(errors.BadInput, match=f'{name} must be'):
        fields.every({name: value}, {name: known[name]})


@pytest.mark.parametrize(
  'method, options, says',
  [
    ('darts', {'tau_max': 1.0}, 'darts has no options: remove options.tau_max'),
    ('gdas', {'tau_mx': 1.0}, 'option of gdas.*did you mean tau_max'),
    ('gdas', {'tau_max': 'hot'}, 'tau_max must be of type float'),
    ('gdas', {'tau_min': 0.0}, 'gdas: tau_min must be above 0'),
    ('darts_es', {'window': 2.5}, 'window must be of type int'),
    ('sgas', {'criterion': 3}, 'sgas: criterion must be 1 or 2'),
    ('sd_gdas', {}, 'set method=gdas and distill.weight=1'),
    ('PC-DARTS', {}, 'did you mean pc_darts'),
    ('pc_darts', {'k': 3}, r'model.channels \(4\) must be a multiple of k, 3'),
    ('darts_ada', {'every': 0}, 'every at least 1'),
    ('darts2', {'difference': -1.0}, 'difference must not be negative'),
    ('idarts', {'inner': 0}, 'inner must be at least 1'),
    ('dsnas', {'gap': 0.0}, r'gap must be in \(0, 1\]'),
    ('proxylessnas', {'mode': 'one'}, "mode must be 'two' or 'full'"),
  ],
)
def test_bad_options(method, options, says):
  changed = {f'options.{name}': value for name, value in options.items()}
  with pytest.raises(errors.BadInput, match=says):
    check.search(config(method=method, **changed))


def test_whole_numbers_are_numbers():
  (stage,) = check.search(config(method='gdas', **{'options.tau_max': 5}))
  assert stage.method.sample.keywords['tau_max'] == 5


@pytest.mark.parametrize(
  'method, says',
  [
    ('sgas', 'sgas cannot search so: it prunes edges.*take darts'),
    ('p_darts', 'p_darts cannot search so: the depth'),
  ],
)
def test_a_space_that_cannot_carry_a_method(method, says):
  made = search_nasbench201.get_config()
  made.method = method
  with pytest.raises(errors.BadInput, match=says):
    check.search(made)


@pytest.mark.parametrize(
  'stages, says',
  [
    (({'epoch': 3},), r'field of stages\[0\].*did you mean epochs'),
    (({}, {'epochs': 'x'}), r'stages\[1\] changes epochs to another type'),
    (({}, {'epochs': 0}), 'epochs must be at least 1'),
    (({}, {'seed': 3}), r'stages\[1\] changes seed, which all stages share'),
    (({'data.name': 'x'},), 'data.name, which all stages share'),
    (({'carry': 'old'},), r'unknown carry of stages\[0\]'),
    (
      ({}, {'method': 'proxylessnas'}),
      r'stages\[1\] goes from adam to lazy_adam',
    ),
    (({}, {'model': {'layers': 5}}), "set its carry to 'fresh'"),
    (({}, {'method': 'dart'}), 'did you mean darts'),
    (({}, {'options.tau': 1.0}), 'darts has no options'),
    (({'epochs': 4},), r'distill.warmup \(8\) leaves none of the'),
    ((3,), r'stages\[0\] must be a dict'),
    (({'epochs': 1}, {1: 1}), r'stages\[1\] must be a dict'),
  ],
)
def test_bad_stages(stages, says):
  with pytest.raises(errors.BadInput, match=says):
    check.search(config(stages=stages))


def test_a_warm_up_without_distillation_may_be_longer_than_the_run():
  check.search(config(**{'distill.warmup': 99, 'distill.weight': 0.0}))


@pytest.mark.parametrize(
  'change, says',
  [
    ({'batch_size': 899}, r'larger than half the data \(898'),
    ({'data.examples': 2000}, 'digits has 1797'),
    ({'epochs': 10**7, 'batch_size': 1}, 'more than are counted'),
    ({'data.examples': 100, 'batch_size': 51}, r'50 of 100 examples'),
    ({'data.pad': 9}, 'must not exceed'),
  ],
)
def test_sizes_that_do_not_fit(change, says):
  made, source = config(**change), sources.find('digits', '')
  with pytest.raises(errors.BadInput, match=says):
    check.sizes(made, source)


@pytest.mark.parametrize('name', ['cifar10', 'imagenet16-120'])
def test_a_data_set_that_is_nowhere_says_how_to_point_at_a_copy(
  name, tmp_path, monkeypatch
):
  def refuse(*args, **kwargs):
    raise ConnectionError('no route')

  monkeypatch.setattr(prepared.urllib.request, 'getproxies', dict)
  monkeypatch.setattr(prepared.socket, 'create_connection', refuse)
  source = sources.find(name, str(tmp_path))
  with pytest.raises(errors.BadInput, match=r'TFDS_DATA_DIR.*prepared by TFDS'):
    source.load('train')


def test_a_folder_is_for_one_config(tmp_path):
  workdir = tmp_path / 'a'
  config = {'task': 'a', 'x': {'y': 1}, 'steps_per_call': 1}
  folder.enter(workdir, ConfigDict(config))
  folder.claim(workdir, ConfigDict(config))
  folder.enter(workdir, ConfigDict({**config, 'steps_per_call': 9}))
  other = tmp_path / 'own'
  told = {'shape': (2, 2, 1), 'digest': 'abc'}
  folder.enter(other, ConfigDict({**config, 'data': {'dir': 'a.npz'}}))
  folder.claim(other, ConfigDict({**config, 'data': {'dir': 'a.npz'}}), told)
  moved = ConfigDict({**config, 'data': {'dir': '../b.npz'}})
  folder.enter(other, moved)  # the same data by another path
  folder.claim(other, moved, told)
  says = 'other data .digest was abc, not abd'
  with pytest.raises(errors.BadInput, match=says):
    folder.claim(other, moved, told | {'digest': 'abd'})
  with pytest.raises(errors.BadInput, match=r'x\.y is 1 there and 2 here'):
    folder.enter(workdir, ConfigDict({**config, 'x': {'y': 2}}))


@pytest.mark.parametrize(
  'content', ['', '{', '[]', '{"a": 1}', '{"config": 3}']
)
def test_a_broken_record_is_no_traceback(tmp_path, content):
  (tmp_path / 'config.json').write_text(content)
  with pytest.raises(errors.BadInput, match='choose another folder'):
    folder.enter(tmp_path, ConfigDict({'x': 1}))


def test_a_run_without_its_record_is_left_alone(tmp_path):
  (tmp_path / 'metrics.csv').write_text('')
  with pytest.raises(errors.BadInput, match=r'metrics\.csv.*another'):
    folder.enter(tmp_path, ConfigDict({'x': 1}))


def test_a_file_in_the_way_is_no_traceback(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.BadInput, match='choose another --workdir'):
    artifacts.folder(tmp_path / 'file' / 'below')


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
  path = tmp_path / 'metrics.csv'
  artifacts.write_rows(path, [{'epoch': 0, 'loss': 0.5}])
  before = path.read_bytes()

  def full(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(artifacts.os, 'fsync', full)
  with pytest.raises(OSError, match='No space left'):
    artifacts.write_rows(path, [{'epoch': 0, 'loss': 9.5}])
  assert path.read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ['metrics.csv']


def test_what_was_written_beyond_the_epoch_resumed_from_is_dropped(tmp_path):
  history = {'epoch': np.arange(4), 'normal': np.arange(8.0).reshape(4, 2)}
  artifacts.write_arrays(tmp_path / 'alphas.npz', history)
  rows = [{'epoch': n, 'loss': 0.5 * n} for n in range(4)]
  artifacts.write_rows(tmp_path / 'metrics.csv', rows)
  artifacts.write_lines(tmp_path / 'genotypes.jsonl', ['a', 'b', 'c', 'd'])
  log = record.Record(tmp_path, None, [5], done=2)
  np.testing.assert_array_equal(log.history['normal'], [[0, 1], [2, 3]])
  assert log.table.column('loss') == [0, 0.5]
  assert log.found == ['a', 'b']


def test_the_imagenet_recipe_reaches_its_parts():
  config = evaluate_imagenet.get_config()
  source = sources.find('imagenet2012', '')
  train, test = check.parts(config, source)
  assert (train, test) == (1_281_167, 50_000)
  setup = evaluate.assemble(config, published.find('DARTS_V2'), source)
  assert setup.augment == (0, True, 0, 0.4, 0.2)
  assert (setup.net.imagenet, setup.smoothing, setup.drop_path) == (
    True,
    0.1,
    0,
  )
  # The first update of a weight under a tiny gradient is its decay, times the
  # rate of the first epoch: a fifth of 0.5.
  weight = {'w': jnp.ones(1)}
  tx = training.optimiser(setup, 0)
  change, _ = tx.update({'w': jnp.zeros(1)}, tx.init(weight), weight)
  assert float(change['w'][0]) == pytest.approx(-0.1 * 3e-5, rel=1e-5)


@pytest.mark.parametrize(
  'change, says',
  [
    ({'data.name': 'cifar10'}, 'needs 193'),
    ({'data.name': 'digits', 'weights.auxiliary': 0.0}, 'no three colours'),
    ({'weights.schedule': 'liner'}, 'did you mean linear'),
    ({'data.hue': 0.6}, r'in \[0.0, 0.5\]'),
  ],
)
def test_what_does_not_fit_the_imagenet_recipe(change, says):
  config = evaluate_imagenet.get_config()
  config.data.holdout = 100
  config.update_from_flattened_dict(change)
  with pytest.raises(errors.BadInput, match=says):
    check.evaluate(config)
    check.parts(config, sources.find(config.data.name, ''))


def test_a_search_takes_no_stream():
  config = search_digits.get_config()
  config.data.name = 'imagenet2012'
  with pytest.raises(errors.BadInput, match='cannot take'):
    check.sizes(config, sources.find('imagenet2012', ''))


@pytest.mark.parametrize('count, layers', [(3, 3), (3, 4), (1, 1), (1, 20)])
def test_a_graph_for_each_cell_sets_the_depth(count, layers):
  nodes = {2: [('skip_connect', 0)]}
  cells = {f'cell{n}': nodes for n in range(count)}
  found = spaces.Genotype.of(SPACES['darts'], cells)
  made = ConfigDict({'genotype': 'mine.json', 'model': {'layers': layers}})
  check.depth(made, published.CELLS['DARTS_V2'].genotype)
  if count == layers:
    return check.depth(made, found)
  says = f'mine.json has {count} cells.* --config.model.layers={count}'
  with pytest.raises(errors.BadInput, match=says):
    check.depth(made, found)

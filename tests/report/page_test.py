"""The report's page: what it holds, and what a real browser makes of it."""

import html.parser
import io
import json
import shutil

import jinja2
from matplotlib import image
import numpy as np
import pytest

from configs import search_digits
from sdnas_jax.report import alphas
from sdnas_jax.report import cells
from sdnas_jax.report import page
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import darts
from sdnas_jax.spaces import published
from sdnas_jax.tasks import report

CELLS = [
  published.CELLS[name].genotype.fields
  for name in ('DARTS_V1', 'DARTS_V2', 'DARTS_V2')
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A search of three epochs, as it leaves its folder."""
  path = tmp_path_factory.mktemp('runs') / 'a <b> & "c"'
  path.mkdir()
  config = search_digits.get_config().to_dict()
  about = {'versions': {'jax': '0.0.7'}, 'devices': ['cpu: abacus']}
  artifacts.write_json(path / 'config.json', {'config': config, **about})
  names = 'train_loss', 'valid_loss', 'distill_loss', 'train_accuracy'
  names += 'valid_accuracy', 'seconds', 'images_per_second', 'loss_drop'
  rows = [{'epoch': n, **dict.fromkeys(names, 0.125 * n)} for n in range(3)]
  rows[0]['loss_drop'] = ''
  for n, row in enumerate(rows):
    seen = ('', 0.03125, 0.5)[n]
    row |= {'dominant_eigenvalue': seen, 'sharpness': seen, 'gap': seen}
  artifacts.write_rows(path / 'metrics.csv', rows)
  tables = np.random.default_rng(0).normal(size=(2, 3, *darts.SPACE.shape))
  history = {'normal': tables[0], 'reduce': tables[1]}
  picture = alphas.draw(history, darts.SPACE)
  artifacts.write(path / 'alphas.png', picture)
  artifacts.write_arrays(
    path / 'alphas.npz', {'epoch': np.arange(3), **history}
  )
  artifacts.write_lines(path / 'genotypes.jsonl', CELLS)
  artifacts.write_json(path / 'genotype.json', CELLS[-1])
  result = {'valid_accuracy': 0.6875, 'parameters': 1234567}
  artifacts.write_json(path / 'result.json', result)
  report.write(path)
  return path


class Reader(html.parser.HTMLParser):
  """Collects the text, and what the page would load or lead to."""

  def __init__(self):
    super().__init__()
    self.text, self.loads, self.links, self.alts = [], [], [], []

  def handle_starttag(self, tag, attrs):
    found = dict(attrs)
    kept = self.links if tag == 'a' else self.loads
    kept += [found[name] for name in ('src', 'href') if name in found]
    self.alts += [found['alt']] if 'alt' in found else []

  def handle_data(self, data):
    self.text.append(data)


def read(path):
  reader = Reader()
  reader.feed((path / 'report.html').read_text())
  return reader


def test_it_holds_the_run_and_needs_no_network(folder):
  reader = read(folder)
  text = ' '.join(reader.text)
  for shown in (
    *('0.6875', '1,234,567', 'search: a <b> & "c"'),  # results, the title
    *('distill.teachers', '0.0.7', 'cpu: abacus', '0.03125'),
    # The drop is 0.125 in the two epochs that have one; the median of seconds.
    '0.125',
  ):
    assert shown in text, shown
  assert all(load.startswith('data:') for load in reader.loads)
  marks = {link for link in reader.links if link.startswith('#')}
  names = 'result cells alphas losses-and-accuracies sharpness time config '
  names += 'versions epochs files'
  assert marks == {f'#{name}' for name in names.split()}
  links = set(reader.links) - marks
  assert links and all((folder / link).exists() for link in links)


def test_equal_cells_are_drawn_once_and_differences_are_counted(folder):
  # Two distinct genotypes of two cells, the alphas, the curves, the sharpness.
  assert len(read(folder).alts) == 4 + 3
  text = (folder / 'report.html').read_text()
  assert 'data-frames="0 1 1"' in text
  # By hand, of published.csv: edges of DARTS_V1 that DARTS_V2 lacks, as sets.
  one, other = CELLS[0], CELLS[1]
  count = 0
  for kind in ('normal', 'reduce'):
    for node in range(4):
      pairs = [
        set(map(tuple, g[kind][2 * node : 2 * node + 2])) for g in (one, other)
      ]
      count += len(pairs[0] - pairs[1])
  assert count and f'<p>{count} edges are not' in text
  assert text.count('<p>These are the cells that the search has found.') == 1


def test_a_run_that_is_not_finished_has_a_report(folder, tmp_path):
  for name in ('config.json', 'metrics.csv', 'genotype.json'):
    shutil.copy(folder / name, tmp_path / name)
  report.write(tmp_path)
  reader = read(tmp_path)
  assert 'Not finished' in ' '.join(reader.text)
  assert len(reader.alts) == 2 + 2  # two cells, the curves, the sharpness


def test_a_comparison_leads_to_the_reports_of_its_runs(folder, tmp_path):
  config = {'task': 'study', 'seeds': 1, 'search': {'epochs': 3}}
  artifacts.write_json(tmp_path / 'config.json', {'config': config})
  shutil.copytree(folder, tmp_path / 'DARTS-0')
  artifacts.write_rows(tmp_path / 'eigenvalues.csv', [{'gap': 0.4375}])
  report.write(tmp_path)
  reader = read(tmp_path)
  assert './DARTS-0/report.html' in reader.links
  text = ' '.join(reader.text)
  assert '0.4375' in text and 'search.epochs' in text
  assert len(reader.alts) == 2 and reader.alts[0].startswith('normal cell')


def test_text_is_text():
  named = {'<b>': True, 'x': 0.123456, 'n': 12345, 's': '1e5'}
  text = page.page('"', {'<i>': [('facts', named)], 'Nothing': iter(())})
  for shown in ('&lt;b&gt;', 'True', '0.1235', '12,345', '1e5', '&lt;i&gt;'):
    assert shown in text
  assert '<b>' not in text and '<i>' not in text and 'Nothing' not in text


@pytest.mark.parametrize('part', [('facets', {}), ('facts',)])
def test_a_part_that_is_not_known_is_refused(part):
  with pytest.raises(jinja2.UndefinedError):
    page.page('title', {'Result': [part]})


def test_a_browser_shows_it_and_its_slider_works(folder, browser):
  shown = browser.new_page(viewport={'width': 1000, 'height': 800})
  said, asked = [], []
  shown.on('console', lambda message: said.append(message.text))
  shown.on('pageerror', lambda error: said.append(str(error)))
  shown.on('request', lambda request: asked.append(request.url))
  shown.goto((folder / 'report.html').as_uri())

  def seen():
    alts = 'images => images.map(i => i.checkVisibility() ? i.alt : "")'
    return shown.eval_on_selector_all('.frame img', alts)

  def expected(genotype):
    graphs = published.read(genotype).graphs
    return [f'{k} cell:\n{cells.text(graph)}' for k, graph in graphs.items()]

  first, last = expected(CELLS[0]), expected(CELLS[-1])
  assert seen() == ['', '', *last]
  assert shown.inner_text('.steps output') == '3 of 3'
  slider = shown.locator('.steps input')
  slider.fill('1')
  assert seen() == [*first, '', '']
  assert shown.inner_text('.steps output') == '1 of 3'
  slider.press('ArrowRight')
  assert seen() == ['', '', *last]
  # Played from the end, it begins anew and stops at the last epoch.
  slider.fill('3')
  shown.evaluate("""() => {
    const told = document.querySelector('.steps output');
    window.went = [];
    const watch = new MutationObserver(() => window.went.push(told.value));
    watch.observe(told, {childList: true});
  }""")
  shown.click('.steps button')
  shown.wait_for_function("window.went.at(-1) === '3 of 3'")
  assert shown.evaluate('window.went') == ['1 of 3', '2 of 3', '3 of 3']
  assert seen() == ['', '', *last]

  sizes = shown.eval_on_selector_all(
    'img', 'images => images.map(i => i.naturalWidth)'
  )
  assert all(size > 0 for size in sizes)
  png = shown.screenshot(full_page=True)
  pixels = image.imread(io.BytesIO(png))[::4, ::4, :3]
  assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
  assert 0.02 < np.mean(pixels.min(axis=-1) < 0.9) < 0.9
  # As wide as the window: on a phone too.
  shown.set_viewport_size({'width': 360, 'height': 640})
  assert shown.evaluate('document.body.scrollWidth') <= 360
  assert said == []
  assert all(url.startswith(('file:', 'data:')) for url in asked)
  shown.close()


def test_bad_input_is_a_sentence(tmp_path):
  from configs import report as example
  from sdnas_jax import errors

  config = example.get_config()
  with pytest.raises(errors.BadInput, match='name the folders'):
    report.run(config, tmp_path, False)
  config.runs = f'{tmp_path}/nothing'
  with pytest.raises(errors.BadInput, match='holds no run'):
    report.run(config, tmp_path, False)
  for text in ('', '[]', json.dumps({'config': {}})):
    (tmp_path / 'config.json').write_text(text)
    config.runs = f'{tmp_path}'
    with pytest.raises(errors.BadInput, match='holds no run'):
      report.run(config, tmp_path, False)


def test_a_search_that_went_back_begins_at_the_cells_it_took(folder, tmp_path):
  own = tmp_path / 'stopped #1'
  shutil.copytree(folder, own)
  artifacts.write_json(own / 'genotype.json', CELLS[0])
  artifacts.write_json(own / 'result.json', {'genotype_epoch': 0})
  report.write(own)
  text = (own / 'report.html').read_text()
  assert 'max="3" value="1"' in text
  parent = tmp_path / 'parent'
  parent.mkdir()
  config = {'config': {'task': 'study'}}
  artifacts.write_json(parent / 'config.json', config)
  shutil.move(own, parent / own.name)
  report.write(parent)
  assert './stopped%20%231-0/report.html' not in read(parent).links
  assert './stopped%20%231/report.html' in read(parent).links

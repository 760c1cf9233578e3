"""All runs on one page: as a file, and served to a real browser."""

import http.client
import json
import pathlib
import subprocess
import sys
import threading

import pytest

from configs import evaluate_digits
from configs import search_digits
from sdnas_jax import errors
from sdnas_jax.runs import artifacts
from sdnas_jax.spaces import published
from sdnas_jax.tasks import overview
from sdnas_jax.tasks import report
from sdnas_jax.tasks import serve

ROOT = pathlib.Path(__file__).parents[2]


def begin(path, config, epochs):
  """A run that has got so far."""
  path.mkdir(parents=True)
  artifacts.write_json(path / 'config.json', {'config': config.to_dict()})
  rows = [
    {'epoch': n, 'seconds': 1.5, 'valid_accuracy': value}
    for n, value in enumerate(epochs)
  ]
  if rows:
    artifacts.write_rows(path / 'metrics.csv', rows)
  genotype = published.CELLS['DARTS_V2'].genotype.fields
  artifacts.write_json(path / 'genotype.json', genotype)


@pytest.fixture
def runs(tmp_path):
  """A search under way, one that is done, a training and a damaged run."""
  root = tmp_path / 'my runs'
  config = search_digits.get_config()
  begin(root / 'a & <b>', config, [0.5, 0.125])
  config.distill.weight, config.method = 0.0, 'gdas'
  begin(root / 'gdas' / '0', config, [0.25])
  done = {'valid_accuracy': 0.0625, 'parameters': 1234, 'seconds': 9.0}
  artifacts.write_json(root / 'gdas' / '0' / 'result.json', done)
  report.write(root / 'gdas' / '0')
  begin(root / 'trained', evaluate_digits.get_config(), [])
  result = {'test_error': 0.25, 'parameters': 99, 'seconds': 100.0}
  artifacts.write_json(root / 'trained' / 'result.json', result)
  begin(root / 'damaged', config, [])
  (root / 'damaged' / 'result.json').write_text('{')
  return root


def words(row):
  return [cell.words for cell in row[:-1]]


def test_what_each_run_has_come_to(runs):
  found = {p.relative_to(runs).as_posix(): p for p in overview.runs(runs)}
  assert sorted(found) == ['a & <b>', 'damaged', 'gdas/0', 'trained']
  told = {name: words(overview.columns(path)) for name, path in found.items()}
  assert told['a & <b>'] == [
    *('search', 'sd_darts', 'darts', 'digits', '2 of 16, not finished'),
    *('12.50', '', ''),
  ]
  assert told['gdas/0'] == [
    *('search', 'gdas', 'darts', 'digits', '1', '6.25', '1,234', '9'),
  ]
  assert told['trained'] == [
    *('evaluate', '', '', 'digits', '0', '75.00 (test)', '99', '100'),
  ]
  assert 'result.json' in told['damaged'][0]


def test_the_command_writes_a_page_that_links_to_reports(runs):
  command = [sys.executable, '-m', 'sdnas_jax.report', str(runs)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.stdout == f'{runs / "index.html"}\n', done.stderr
  text = (runs / 'index.html').read_text()
  assert './gdas/0/report.html' in text and './trained/' not in text
  assert 'a &amp; &lt;b&gt;' in text and '<b>' not in text
  assert 'fetch(' not in text
  missing = [*command[:-1], str(runs / 'none')]
  done = subprocess.run(missing, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2 and done.stderr.startswith('error: there is no')
  with pytest.raises(errors.BadInput, match='another by --port'):
    serve.server(runs, 2**16)


@pytest.fixture
def address(runs):
  with serve.server(runs, 0) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'127.0.0.1:{server.server_address[1]}'
    server.shutdown()
    thread.join()


def ask(address, path, method='GET', **headers):
  connection = http.client.HTTPConnection(address)
  connection.request(method, path, headers=headers)
  answer = connection.getresponse()
  return answer.status, answer.getheader('ETag'), answer.read()


def test_only_what_runs_have_written_is_served(address, runs):
  (runs / 'secret.txt').write_text('secret')
  (runs / 'gdas' / '0' / 'secret.txt').write_text('secret')
  (runs / 'gdas' / 'metrics.csv').write_text('not in a run')
  (runs.parent / 'config.json').write_text('{"config": {"task": "search"}}')
  (runs / 'gdas' / '0' / 'curves.png').symlink_to('/etc/passwd')
  assert ask(address, '/')[0] == 200
  status, _, page = ask(address, '/gdas/0/report.html')
  assert status == 200 and b'1,234' in page and b'fetch(' in page
  status, _, result = ask(address, '/gdas/0/result.json')
  assert status == 200 and json.loads(result)['parameters'] == 1234
  for path in (
    *('/secret.txt', '/gdas/0/secret.txt', '/gdas/metrics.csv', '/none/x'),
    *('/../config.json', '/%2e%2e/config.json', '/gdas/0/%2fetc%2fpasswd'),
    *('/gdas/0/curves.png', '/gdas/0/checkpoints', '/gdas', '/%00', '//'),
  ):
    status, _, told = ask(address, path)
    assert status in (404, 200 if path == '//' else 404), path
    assert b'secret' not in told and b'root:' not in told
  assert ask(address, '/', Host='evil.example')[0] == 403
  assert ask(address, '/', method='POST')[0] == 501
  status, _, body = ask(address, '/', method='HEAD')
  assert (status, body) == (200, b'')


def test_a_page_is_known_by_what_it_shows(address, runs):
  path = '/gdas/0/report.html'
  (first, second), other = [ask(address, path)[1] for _ in range(2)], None
  assert first == second
  artifacts.write_json(runs / 'gdas/0/result.json', {'valid_accuracy': 0.5})
  status, other, page = ask(address, path)
  assert status == 200 and other != first and b'1,234' not in page


def test_a_browser_sorts_and_follows_the_runs(address, runs, browser):
  shown = browser.new_page()
  said = []
  shown.on('console', lambda message: said.append(message.text))
  shown.on('pageerror', lambda error: said.append(str(error)))
  shown.goto(f'http://{address}/')

  def order():
    return shown.eval_on_selector_all(
      'tbody tr', 'rows => rows.map(row => row.cells[0].textContent.trim())'
    )

  shown.click('text=accuracy, %')
  assert order() == ['damaged', 'gdas/0', 'a & <b>', 'trained']
  shown.click('text=accuracy, %')
  assert order() == ['trained', 'a & <b>', 'gdas/0', 'damaged']
  shown.click('text=parameters')
  assert order()[-2:] == ['trained', 'gdas/0']  # 99 and 1,234 as numbers
  # Another epoch of the search shows by itself, in the order chosen.
  table = runs / 'a & <b>' / 'metrics.csv'
  rows = artifacts.read_rows(table)
  artifacts.write_rows(table, [*rows, {**rows[-1], 'epoch': 2}])
  shown.wait_for_selector('text=3 of 16')
  assert order()[-2:] == ['trained', 'gdas/0']
  shown.click('text=a & <b>')
  shown.wait_for_selector('text=Not finished')
  shown.wait_for_selector('img')
  artifacts.write_json(runs / 'a & <b>' / 'result.json', {'parameters': 4321})
  shown.wait_for_selector('text=4,321')
  assert said == []
  shown.close()

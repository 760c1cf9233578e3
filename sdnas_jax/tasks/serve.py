"""Shows the runs of a folder to a browser on this machine, while they run.

  >>> with serve.server(pathlib.Path('runs'), port=8000) as server:
  ...   server.serve_forever()

It listens on the loopback address alone, reads what runs write, and writes
nothing.
"""

import functools
import hashlib
from http import HTTPStatus
from http import server as http
import mimetypes
import pathlib
import threading
from urllib import parse

from sdnas_jax import errors
from sdnas_jax.runs import artifacts
from sdnas_jax.tasks import overview
from sdnas_jax.tasks import report

LOOPBACK = '127.0.0.1'
HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  # Pages hold all that they show, and ask for nothing but themselves.
  'Content-Security-Policy': (
    "default-src 'none'; img-src data:; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
  ),
}


def server(root: pathlib.Path, port: int) -> http.ThreadingHTTPServer:
  """Of a folder; port 0 is any that is free.

  Raises:
    BadInput: there is no such folder, or the port is taken.
  """
  overview.rows(root)
  try:
    return http.ThreadingHTTPServer(
      (LOOPBACK, port), functools.partial(Handler, Pages(root.resolve()))
    )
  except (OSError, OverflowError) as error:
    raise errors.BadInput(
      f'cannot listen on port {port} ({error}): choose another by --port'
    ) from error


class Pages:
  """The pages of a folder, made anew when what they show has changed."""

  def __init__(self, root: pathlib.Path):
    self.root, self.lock = (
      root,
      threading.Lock(),
    )  # figures are drawn one by one
    self.made: dict[pathlib.Path, tuple[str, str]] = {}  # with their tags

  def find(self, address: str) -> tuple[bytes, str, str] | None:
    """The content at an address, its type and tag; None if there is none."""
    names = [parse.unquote(name) for name in address.split('/') if name]
    if any(name in ('.', '..') or '/' in name for name in names):
      return None
    if not names:
      rows = [row._replace(linked=True) for row in overview.rows(self.root)]
      tag = _tag(str(rows))
      return overview.made(self.root, rows, tag).encode(), 'text/html', tag
    path = self.root.joinpath(*names)
    if not path.resolve().is_relative_to(self.root):
      return None
    if not (path.parent / 'config.json').is_file():
      return None
    if path.name == 'report.html':
      page, tag = self.report(path.parent)
      return page.encode(), 'text/html', tag
    if path.name not in artifacts.FILES or not path.is_file():
      return None
    kind = mimetypes.guess_type(path.name)[0] or 'application/octet-stream'
    return path.read_bytes(), kind, _tag(str(path.stat().st_mtime_ns))

  def report(self, run: pathlib.Path) -> tuple[str, str]:
    """A run's page and its tag."""
    files = (run / name for name in artifacts.there(run))
    seen = [(f.name, f.stat().st_mtime_ns) for f in files if f.is_file()]
    tag = _tag(str([one for one in seen if one[0] != 'report.html']))
    with self.lock:
      if self.made.get(run, ('', ''))[1] != tag:
        self.made[run] = report.made(run, tag), tag
      return self.made[run]


def _tag(text):
  return f'"{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"'


class Handler(http.BaseHTTPRequestHandler):
  """Answers GET and HEAD."""

  def __init__(self, pages: Pages, *given):
    self.pages = pages
    super().__init__(*given)

  def do_GET(self) -> None:
    content = self._begin()
    if content is not None:
      self.wfile.write(content)

  def do_HEAD(self) -> None:
    self._begin()

  def _begin(self):
    """Sends the status and headers; returns what follows them, if anything."""
    host = parse.urlsplit(f'//{self.headers.get("Host", "")}').hostname
    if host not in (LOOPBACK, 'localhost'):  # a page from elsewhere asks
      self.send_error(HTTPStatus.FORBIDDEN)
      return None
    try:
      found = self.pages.find(parse.urlsplit(self.path).path)
    except (errors.BadInput, OSError, ValueError) as error:
      self.send_error(HTTPStatus.NOT_FOUND, explain=errors.told(error))
      return None
    if found is None:
      self.send_error(HTTPStatus.NOT_FOUND)
      return None
    content, kind, tag = found
    self.send_response(HTTPStatus.OK)
    text = '; charset=utf-8' if kind.startswith('text/') else ''
    about = {'Content-Type': f'{kind}{text}', 'ETag': tag, **HEADERS}
    for name, value in {**about, 'Content-Length': len(content)}.items():
      self.send_header(name, str(value))
    self.end_headers()
    return content

  def log_message(self, *given) -> None:
    """Says nothing of each request."""

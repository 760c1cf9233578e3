"""All runs of a folder on one page, in it or, while they run, in a browser.

python -m sdnas_jax.report runs
python -m sdnas_jax.report runs --serve
"""

import argparse
import pathlib
import sys

from sdnas_jax import errors
from sdnas_jax.tasks import overview
from sdnas_jax.tasks import serve


def main() -> int:
  """Writes runs/index.html, or serves it and the runs' reports."""
  about, usage = __doc__.split('\n\n', 1)
  parser = argparse.ArgumentParser(
    'python -m sdnas_jax.report',
    description=about,
    epilog=usage,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('folder', nargs='?', default='runs', type=pathlib.Path)
  parser.add_argument(
    '--serve',
    action='store_true',
    help='keep them fresh, on this machine alone',
  )
  parser.add_argument('--port', type=int, default=8000)
  given = parser.parse_args()
  try:
    if not given.serve:
      print(overview.write(given.folder))
      return 0
    with serve.server(given.folder, given.port) as server:
      port = server.server_address[1]
      print(f'http://{serve.LOOPBACK}:{port}/ until Ctrl-C', flush=True)
      server.serve_forever()
  except errors.BadInput as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    return 130


if __name__ == '__main__':
  sys.exit(main())

"""What stops a run, each a sentence for its user."""

from collections.abc import Iterable
import difflib


class BadInput(ValueError):
  """The user asked for something that cannot be; the message names the fix."""


class Diverged(RuntimeError):
  """The loss is no longer a finite number."""


def pick(what: str, name: str, known: Iterable[str]) -> None:
  """Raises `BadInput`, with near names, unless `name` is known."""
  name, known = str(name), sorted(known)
  if name not in known:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f'did you mean {" or ".join(near)}' if near else 'choose one'
    raise BadInput(f'unknown {what} {name!r}: {hint} of {", ".join(known)}')

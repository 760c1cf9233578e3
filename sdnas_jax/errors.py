"""What stops a run, each a sentence for its user."""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import difflib
import functools
import os
from typing import Any


class BadInput(ValueError):
  """The user asked for something that cannot be; the message names the fix."""


class Diverged(RuntimeError):
  """The loss is no longer a finite number."""


def supported() -> None:
  """Raises `BadInput` on Windows, which lacks signals and locks of POSIX."""
  if os.name != 'posix':
    raise BadInput(
      'sdnas_jax runs on Linux and macOS: on Windows, start it in WSL'
    )


def pick(
  what: str, name: Any, known: Iterable[str], others: Iterable[str] = ()
) -> None:
  """Raises `BadInput`, with near names, unless `name` is known.

  Near ones, in any case and with dashes, are sought among `others` too, which
  are not listed.
  """
  known = sorted(known)
  if not isinstance(name, str) or name not in known:
    near = functools.partial(_near, short(name).strip("'"))
    found = near(known) or near([*others])
    hint = f'did you mean {" or ".join(found)}' if found else 'choose one'
    raise BadInput(
      f'unknown {what} {short(name)}: {hint} of {", ".join(known)}'
    )


def _near(name, known):
  plain = {_plain(other): other for other in known}
  found = difflib.get_close_matches(_plain(name), plain, n=3)
  return [plain[other] for other in found]


def _plain(name):
  return name.lower().replace('-', '_')


@contextlib.contextmanager
def within(place: str) -> Iterator[None]:
  """Says of a `BadInput` where it is in the input, if in a place of a name."""
  try:
    yield
  except BadInput as error:
    raise BadInput(f'{place}: {error}' if place else str(error)) from error


def short(value: Any) -> str:
  """What a sentence repeats of an input, whatever that is."""
  try:
    return cut(repr(value))
  except Exception:  # it may be of a class of the user's own
    return f'a {type(value).__name__}'


def cut(text: str, most: int = 60) -> str:
  """A text on one line, without its middle if it is longer than that."""
  if len(text) > most:
    text = f'{text[: most // 2 - 3]}...{text[-most // 2 :]}'
  return ' '.join(text.split())


def told(error: BaseException) -> str:
  """An exception in words."""
  try:
    text = cut(str(error), 300)
  except Exception:  # of a class of the user's own
    text = ''
  return f'{type(error).__name__}: {text}' if text else type(error).__name__

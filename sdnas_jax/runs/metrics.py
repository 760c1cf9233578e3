"""A run's metrics: a table of epochs, in a file and for TensorBoard."""

from collections.abc import Mapping
import json
import pathlib

from sdnas_jax import parallel
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import tensorboard


class Table:
  """metrics.csv and the event files of one run.

  It goes on after so many `done` epochs: what a killed run wrote beyond them
  is dropped, since those epochs will be run again.
  """

  def __init__(self, workdir: pathlib.Path, done: int):
    """Reads what there is.

    Raises:
      BadInput: epochs that were run are not there.
    """
    self.path, self.board = workdir / 'metrics.csv', workdir / 'tensorboard'
    self.events: pathlib.Path | None = None  # of this process
    self.rows = artifacts.read_rows(self.path)[:done]
    artifacts.complete(self.path, self.rows, done)

  def add(self, epoch: int, metrics: Mapping[str, float | str]) -> None:
    """Writes an epoch's metrics; what was not measured is ''."""
    # As they come back from the file, so that a resumed run reads the same.
    row = {'epoch': epoch, **metrics}
    self.rows.append({name: str(value) for name, value in row.items()})
    if not parallel.leads():
      return
    artifacts.write_rows(self.path, self.rows)
    if not tensorboard.installed():
      return
    self.events = self.events or tensorboard.start(self.board, epoch)
    known = {k: v for k, v in metrics.items() if v != ''}
    tensorboard.add(self.events, epoch, known)

  def checksum(self, done: int) -> int:
    """That of the first epochs."""
    return artifacts.checksum(json.dumps(self.rows[:done]).encode())

  def column(self, name: str) -> list[float]:
    """One metric, epoch by epoch."""
    return [float(row[name]) for row in self.rows]

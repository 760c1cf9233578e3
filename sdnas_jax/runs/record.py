"""Writes what a search found, an epoch at a time."""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np

from sdnas_jax import parallel
from sdnas_jax.analysis import truth
from sdnas_jax.methods import method as methods
from sdnas_jax.report import alphas
from sdnas_jax.report import cells
from sdnas_jax.runs import artifacts
from sdnas_jax.runs import metrics
from sdnas_jax.spaces import published
from sdnas_jax.spaces import space as spaces
from sdnas_jax.steps import search
from sdnas_jax.steps import totals

# The metrics that a method may know. No truth of a table is among them.
KNOWN = (
  *('train_loss', 'loss_drop', 'train_accuracy', 'distill_loss'),
  *('valid_loss', 'valid_accuracy', 'dominant_eigenvalue', 'sharpness', 'gap'),
)


class Record:
  """The files of one run, of all its stages.

  It goes on after so many `done` epochs and `revisions`: what a killed run
  wrote beyond them is dropped, since those epochs will be run again. Every
  host keeps what it holds; the leading one writes it.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    space: spaces.Space,
    stages: Sequence[int],
    done: int,
    revisions: int = 0,
    data: str = '',
  ):
    """Reads what there is; `stages` are their epochs, `data` their images."""
    self.workdir, self.space, self.stages = workdir, space, tuple(stages)
    self.data = data  # what is searched
    self.drawn = time.monotonic()
    self.table = metrics.Table(workdir, done)
    history = artifacts.read_arrays(workdir / 'alphas.npz')
    self.history = {name: table[:done] for name, table in history.items()}
    # The genotype of each epoch.
    found = artifacts.read_lines(workdir / 'genotypes.jsonl')
    self.found: list[dict[str, Any]] = found[:done]
    made = artifacts.read_lines(workdir / 'revisions.jsonl')
    self.revisions: list[dict[str, Any]] = made[:revisions]
    artifacts.complete(workdir / 'genotypes.jsonl', self.found, done)
    artifacts.complete(workdir / 'revisions.jsonl', self.revisions, revisions)
    known = self.history.get('epoch', ())
    artifacts.complete(workdir / 'alphas.npz', known, done)

  def checksums(self, done: int) -> dict[str, int]:
    """Those of what its files hold of the first epochs, by their names."""
    revised = self.revisions, self.found[:done]
    arrays = [table[:done].tobytes() for table in self.history.values()]
    names = 'revisions.jsonl', 'genotypes.jsonl'
    return {
      'metrics.csv': self.table.checksum(done),
      'alphas.npz': artifacts.checksum(b''.join(arrays)),
      **{
        name: artifacts.checksum(json.dumps(lines).encode())
        for name, lines in zip(names, revised, strict=True)
      },
    }

  def begun(self, stage: int) -> int:
    """How many epochs a stage has before it."""
    return sum(self.stages[:stage])

  def past(
    self, first: int, rates: Mapping[str, float], epochs: int
  ) -> methods.History:
    """What a method may know of the epochs from the first on."""
    known = [
      {name: float(row[name]) for name in KNOWN if row.get(name, '') != ''}
      for row in self.table.rows[first:]
    ]
    found = [published.read(line) for line in self.found[first:]]
    alphas = {k: v[first:] for k, v in self.history.items() if k != 'epoch'}
    return methods.History(known, found, alphas, rates, epochs)

  def revise(self, first: int, revision: methods.Revision) -> None:
    """Notes what a method changed, which counts from epoch `first` on."""
    said = {'epochs': len(self.found), 'rates': dict(revision.rates)}
    if revision.arch is not None:
      said['alive'] = {
        kind: np.asarray(mask).tolist()
        for kind, mask in revision.arch.mask.items()
      }
    if revision.stop is not None:
      said['stop'] = first + revision.stop
    if revision.back is not None:
      keep = first + revision.back + 1
      said |= {'back': keep - 1, 'genotype': self.found[keep - 1]}
      said['abandoned'] = self.table.rows[keep:]
    self.revisions.append(said)
    if parallel.leads():
      artifacts.write_lines(self.workdir / 'revisions.jsonl', self.revisions)
      artifacts.seal(self.workdir)

  def back(self, done: int) -> None:
    """Forgets the epochs after so many, to which the state has gone back."""
    self.table.rows = self.table.rows[:done]
    self.found = self.found[:done]
    self.history = {name: rows[:done] for name, rows in self.history.items()}

  def epoch(
    self,
    stage: int,
    state: search.State,
    sums: totals.Totals,
    found: spaces.Genotype,
    seconds: float,
    rate: float,
    measured: Mapping[str, float | str],
  ) -> str:
    """Writes an epoch's metrics, alphas, genotype and pictures.

    Args:
      stage: the state's.
      state: after the epoch's training.
      sums: of its validation.
      found: what its alphas stand for.
      seconds: that both took.
      rate: training images a second.
      measured: of its sharpness, each '' in an epoch without; {} if none is.

    Returns:
      The epoch in lines of at most 79 characters.
    """
    epoch = self.begun(stage) + int(state.epoch)
    train, valid = totals.averages(state.sums), totals.averages(sums)
    known = truth.row(found, self.data)
    before = self.table.column('train_loss')[-1:]
    row = {
      'train_loss': train['loss'],
      # Small where the loss is flat (SD-DARTS, Equations 3 and 4).
      'loss_drop': before[0] - train['loss'] if before else '',
      'train_accuracy': train['top1'],
      'distill_loss': train['distill'],
      'valid_loss': valid['loss'],
      'valid_accuracy': valid['top1'],
      'seconds': round(seconds, 3),
      'images_per_second': round(rate, 2),
      **measured,
      **known,
    }
    self.table.add(epoch, row)
    self._remember(epoch, jax.device_get(state.params['alphas']))
    self.found.append(found.fields)
    if parallel.leads():
      self._write(epoch + 1 == sum(self.stages))
      artifacts.seal(self.workdir)
    distilled = train['distill']
    more = ''.join(map(_told, (measured, known)))
    return (
      f'epoch {epoch + 1}/{sum(self.stages)}: '
      f'train {train["loss"]:.3f} {train["top1"]:.1%}, '
      f'valid {valid["loss"]:.3f} {valid["top1"]:.1%}, '
      f'distill {f"{distilled:.4f}" if distilled else "off"}, {rate:.0f} im/s'
      f'{more}'
    )

  def _write(self, over: bool) -> None:
    artifacts.write_lines(self.workdir / 'genotypes.jsonl', self.found)
    artifacts.write_arrays(self.workdir / 'alphas.npz', self.history)
    artifacts.write_json(self.workdir / 'genotype.json', self.final)
    # Drawing takes seconds, longer than a small epoch.
    if over or time.monotonic() - self.drawn > 60:
      self._draw()
      self.drawn = time.monotonic()

  def conclude(self, parameters: int) -> None:
    """Writes the result of a finished search, and its pictures."""
    row = self.table.rows[self.last]
    result = {
      'valid_accuracy': float(row['valid_accuracy']),
      'valid_loss': float(row['valid_loss']),
      'parameters': parameters,
      'epochs': len(self.found),
      'genotype_epoch': self.last,
      'seconds': round(sum(self.table.column('seconds')), 1),
      **truth.row(published.read(self.final), self.data),
      'genotype': self.final,
    }
    self._write(over=True)
    artifacts.write_json(self.workdir / 'result.json', result)
    artifacts.seal(self.workdir)

  @property
  def stopped(self) -> int | None:
    """The epoch whose genotype the method has ended with, if it has."""
    return self.revisions[-1].get('stop') if self.revisions else None

  @property
  def last(self) -> int:
    """The epoch whose genotype the search ends with, as far as it has come."""
    return len(self.found) - 1 if self.stopped is None else self.stopped

  @property
  def final(self) -> dict[str, Any]:
    """That genotype."""
    return self.found[self.last]

  def conclusion(self) -> str:
    """The genotype in words, and where everything lies."""
    lines = []
    if self.stopped is not None:
      lines = [f'stopped by the method: the cells of epoch {self.stopped + 1}']
    for kind, cell in published.read(self.final).graphs.items():
      lines += ['', spaces.title(kind), cells.text(cell)]
    return '\n'.join([*lines, '', artifacts.listing(self.workdir)])

  def _remember(self, epoch: int, now: dict[str, Any]) -> None:
    for name, value in {'epoch': epoch, **now}.items():
      past = self.history.get(name, np.empty((0, *np.shape(value))))
      self.history[name] = np.concatenate(
        [past.astype(np.asarray(value).dtype), np.asarray(value)[None]]
      )

  def _draw(self) -> None:
    history = {kind: self.history[kind] for kind in self.space.kinds}
    picture = alphas.draw(history, self.space)
    artifacts.write(self.workdir / 'alphas.png', picture)
    for kind, cell in published.read(self.final).graphs.items():
      picture = cells.svg(cell, spaces.title(kind))
      artifacts.write(self.workdir / f'{kind}.svg', picture)


def _told(measures):
  """A further line of an epoch's; '' without any measure."""
  told = [
    f'{name.replace("_", " ")} {value:.4g}'
    for name, value in measures.items()
    if value != ''
  ]
  return f'\n  {", ".join(told)}' if told else ''

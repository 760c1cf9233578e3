"""TensorBoard's event files, written without TensorFlow.

  >>> from sdnas_jax.runs import tensorboard
  >>> if tensorboard.installed():
  ...   events = tensorboard.start(folder, epoch=0)
  ...   tensorboard.add(events, epoch=0, scalars={'loss': 2.3})

TensorFlow takes longer to import than an epoch of a small search, and what is
imported is imported with the first event.
"""

from collections.abc import Mapping
import importlib.util
import os
import pathlib
import socket
import time


def installed() -> bool:
  """Whether TensorBoard, which writes them, is there."""
  return importlib.util.find_spec('tensorboard') is not None


def start(folder: pathlib.Path, epoch: int) -> pathlib.Path:
  """Begins an event file; what older ones hold from `epoch` on is void."""
  folder.mkdir(parents=True, exist_ok=True)
  name = f'{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}'
  events = folder / f'events.out.tfevents.{name}'
  _write(events, file_version='brain.Event:2')
  from tensorboard.compat.proto import event_pb2

  begun = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
  _write(events, step=epoch, session_log=begun)
  return events


def add(events: pathlib.Path, epoch: int, scalars: Mapping[str, float]) -> None:
  """Adds an epoch's scalars, each a curve of its own."""
  from tensorboard.compat.proto import summary_pb2

  values = [
    summary_pb2.Summary.Value(tag=name, simple_value=value)
    for name, value in scalars.items()
  ]
  _write(events, step=epoch, summary=summary_pb2.Summary(value=values))


def _write(events, **content):
  from tensorboard.compat.proto import event_pb2
  from tensorboard.summary.writer import record_writer

  event = event_pb2.Event(wall_time=time.time(), **content)
  with events.open('ab') as file:
    record_writer.RecordWriter(file).write(event.SerializeToString())

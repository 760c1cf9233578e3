"""The event files, read back by TensorBoard's own reader."""

import math

from tensorboard.backend.event_processing import event_accumulator

from sdnas_jax.runs import tensorboard


def test_a_first_epoch_run_again_is_replaced_too(tmp_path, monkeypatch):
  for second, loss in ((1000.5, 3.0), (2000.5, 2.0)):
    monkeypatch.setattr('time.time', lambda second=second: second)
    tensorboard.add(tensorboard.start(tmp_path, epoch=0), 0, {'loss': loss})
  read = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
  assert [(e.step, e.value) for e in read.Scalars('loss')] == [(0, 2.0)]


def test_a_resumed_run_replaces_what_it_runs_again(tmp_path, monkeypatch):
  monkeypatch.setattr('time.time', lambda: 1000.5)
  first = tensorboard.start(tmp_path, epoch=0)
  for epoch, loss in enumerate([3.0, 2.0, 9.0]):
    tensorboard.add(first, epoch, {'loss': loss, 'rate': 10.0 * epoch})
  monkeypatch.setattr('time.time', lambda: 2000.5)
  second = tensorboard.start(tmp_path, epoch=2)
  tensorboard.add(second, 2, {'loss': 1.0, 'rate': math.inf})

  read = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
  assert len(list(tmp_path.iterdir())) == 2
  assert read.Tags()['scalars'] == ['loss', 'rate']
  losses = [(e.step, e.value, e.wall_time) for e in read.Scalars('loss')]
  assert losses == [(0, 3.0, 1000.5), (1, 2.0, 1000.5), (2, 1.0, 2000.5)]
  assert [e.value for e in read.Scalars('rate')] == [0.0, 10.0, math.inf]

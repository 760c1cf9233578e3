"""Data sets that TFDS prepares, downloaded once if they may be."""

from collections.abc import Iterator
import contextlib
import os
import socket
from typing import Any
import urllib.parse
import urllib.request

import numpy as np

from sdnas_jax import errors
from sdnas_jax import tf


@contextlib.contextmanager
def opened(name: str, folder: str) -> Iterator[Any]:
  """A TFDS builder whose data are there, downloaded if they were not.

  Raises:
    BadInput: they can be neither found nor downloaded, or anything goes wrong
      while they are read.
  """
  tf.prepare()
  import tensorflow_datasets as tfds

  try:
    if place(folder).startswith('~'):
      raise OSError('no home folder is known')
    builder = tfds.builder(name, data_dir=folder or None)
    missing = not builder.data_path.exists()
    older = _versions(builder.data_path.parent) if missing else []
    if older:
      builder, missing = tfds.builder_from_directory(older[-1]), False
    manual = builder.MANUAL_DOWNLOAD_INSTRUCTIONS  # TFDS downloads nothing
    if missing and not manual and not urllib.request.getproxies():
      # Without a network TFDS tries for minutes; this fails at once.
      for url in [*(builder.url_infos or ())][:1]:
        host = urllib.parse.urlsplit(url).hostname, 443
        socket.create_connection(host, timeout=10).close()
    builder.download_and_prepare()
    yield builder
  except errors.BadInput:
    raise
  except Exception as error:
    reason = str(error).strip().splitlines()[0][:80] if str(error) else ''
    raise errors.BadInput(
      f'{name} is neither in {place(folder)} nor can it be downloaded '
      f'({type(error).__name__}: {reason}); point --config.data.dir or '
      f'TFDS_DATA_DIR at a folder that holds {name}/ prepared by TFDS, '
      'or set --config.data.name=folder for a folder of your own pictures'
    ) from error


def place(folder: str) -> str:
  """The folder that TFDS looks into; '~' is left of a home not known."""
  usual = os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  return os.path.expanduser(folder or usual)


def _versions(folder):
  """The folders of a data set's prepared versions, the latest last."""
  found = [path for path in folder.glob('*.*.*') if path.is_dir()]
  found = [path for path in found if path.name.replace('.', '').isdigit()]
  return sorted(found, key=lambda path: [*map(int, path.name.split('.'))])


def load(name, folder, part):
  with opened(name, folder) as builder:
    table = builder.as_dataset(split=part, batch_size=-1)
  table = {key: value.numpy() for key, value in table.items()}
  order = np.argsort(table['id'])
  return table['image'][order], table['label'][order].astype(np.int32)


def load_first(classes, counts, folder, part):
  import tensorflow_datasets as tfds

  name, count = 'imagenet_resized/16x16', counts[part]
  with opened(name, folder) as builder:
    table = builder.as_dataset(
      split={'test': 'validation'}.get(part, part),
      decoders={'image': tfds.decode.SkipDecoding()},
      # One file after the other, so that the order is the same for any number.
      read_config=tfds.ReadConfig(
        interleave_cycle_length=1, try_autocache=False
      ),
    )
    decode = builder.info.features['image'].decode_example
    table = table.filter(lambda row: row['label'] < classes)
    table = table.map(lambda row: {**row, 'image': decode(row['image'])})
    batches = list(table.batch(count).as_numpy_iterator())
    found = sum(len(batch['label']) for batch in batches)
    if found != count:
      raise errors.BadInput(
        f"{name}'s part {part!r} has {found} images of the first {classes} "
        f'classes, not {count}, in {builder.data_path}: prepare it anew by TFDS'
      )
  return batches[0]['image'], batches[0]['label'].astype(np.int32)


def stream(name, folder, part, first, last, seed):
  import tensorflow_datasets as tfds

  part = {'test': 'validation'}.get(part, part)
  with opened(name, folder) as builder:
    there = builder.info.splits
    count = there[part].num_examples if part in there else 0
    if there and count < last:  # TFDS's mock data know no parts
      raise errors.BadInput(
        f"{name}'s part {part!r} has {count} images, not {last}, in "
        f'{builder.data_path}: prepare it anew by TFDS'
      )
    return builder.as_dataset(
      split=f'{part}[{first}:{last}]',
      shuffle_files=seed is not None,
      decoders={'image': tfds.decode.SkipDecoding()},
      read_config=tfds.ReadConfig(shuffle_seed=seed, try_autocache=False),
    )

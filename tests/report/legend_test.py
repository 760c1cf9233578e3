"""A legend of more methods than colours leaves the panels their room."""

import struct

from sdnas_jax.report import figures


def size(methods):
  rows = [
    {'method': f'sd_proxylessnas{m}', 'seed': 0, 'epoch': e, 'loss': m + e}
    for m in range(methods)
    for e in range(2)
  ]
  picture = figures.spread(rows, ['loss'])  # a warning would be an error
  return struct.unpack('>II', picture[16:24])  # as PNG has them


def test_names_of_many_methods_stand_below():
  few, many = size(len(figures.COLOURS)), size(64)
  assert few == (4 * 130, int(3.2 * 130))
  assert many[0] == few[0] and many[1] > 2 * few[1]

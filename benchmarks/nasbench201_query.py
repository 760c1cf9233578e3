"""Times queries of the NAS-Bench-201 table, and what it takes to hold it.

  python benchmarks/nasbench201_query.py

The last line is JSON: seconds to load table and order, once; microseconds a
query by index and by string, the median over rounds of 1,000 cells each; bytes
of the file, of the table's arrays, and by which loading grew the process.
"""

import json
import pathlib
import random
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
ROUNDS, CELLS = 21, 1000


def resident() -> int:
  """Bytes of this process in memory (Linux)."""
  status = pathlib.Path('/proc/self/status').read_text()
  return 1024 * int(status.split('VmRSS:')[1].split()[0])


def microseconds(query, asked) -> float:
  """A query's time: the median over rounds of the mean over cells."""
  rounds = []
  for _ in range(ROUNDS):
    begun = time.perf_counter()
    for one in asked:
      query(one)
    rounds.append((time.perf_counter() - begun) / len(asked))
  return 1e6 * statistics.median(rounds)


def main():
  sys.path.insert(0, str(ROOT))
  from sdnas_jax.analysis import nasbench201
  from sdnas_jax.spaces import nasbench201 as space

  before, begun = resident(), time.perf_counter()
  nasbench201.query('|none~0|+|none~0|none~1|+|none~0|none~1|none~2|')
  loaded, after = time.perf_counter() - begun, resident()
  indices = random.Random(0).sample(range(space.SIZE), CELLS)
  strings = [space.text(space.cell(index)) for index in indices]
  figures = {
    'load_s': round(loaded, 4),
    'index_us': round(microseconds(nasbench201.query, indices), 2),
    'string_us': round(microseconds(nasbench201.query, strings), 2),
    'file_bytes': nasbench201.FILE.stat().st_size,
    'table_bytes': sum(array.nbytes for array in nasbench201.table()),
    'grown_bytes': after - before,
  }
  print(json.dumps(figures))


if __name__ == '__main__':
  main()

"""Tables of text: what stands where."""

from sdnas_jax.report import table

ROWS = [
  {'variant': 'DARTS', 'test error, %': '2.76±0.09', 'runs': '3', 'tau': ''},
  {'variant': 'found', 'test error, %': '2.58', 'runs': '1', 'tau': '0.5'},
]


def test_columns_are_under_their_titles():
  assert table.text(ROWS).splitlines() == [
    '             test',
    'variant  error, % runs tau',
    'DARTS   2.76±0.09    3',
    'found        2.58    1 0.5',
  ]


def test_what_does_not_fit_stands_below_with_the_names(monkeypatch):
  monkeypatch.setattr(table, 'WIDTH', len('variant 2.76±0.09 runs'))
  blocks = table.text(ROWS).split('\n\n')
  assert [block.splitlines() for block in blocks] == [
    [
      *('             test', 'variant  error, % runs'),
      *('DARTS   2.76±0.09    3', 'found        2.58    1'),
    ],
    ['variant tau', 'found   0.5'],  # who has nothing to say is left out
  ]


def test_markdown():
  assert table.markdown(ROWS).splitlines() == [
    '| variant | test error, % | runs | tau |',
    '| --- | ---: | ---: | ---: |',
    '| DARTS | 2.76±0.09 | 3 |  |',
    '| found | 2.58 | 1 | 0.5 |',
  ]

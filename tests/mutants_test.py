"""The mutants still are mutants of the code, and their tests are there."""

import re

import pytest

from tests import mutants


@pytest.mark.parametrize('mutant', mutants.MUTANTS, ids=lambda one: one.name)
def test_a_mutant_can_be_made_and_tested(mutant):
  text = (mutants.ROOT / 'sdnas_jax' / mutant.file).read_text()
  assert text.count(mutant.right) == 1
  file, *words = mutant.test.split(' -k ')
  names = re.findall(
    r'^def (test_\w+)', (mutants.ROOT / file).read_text(), re.M
  )
  for word in words:
    assert any(word.split('[')[0] in name for name in names)

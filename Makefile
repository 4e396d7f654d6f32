# SPDX-License-Identifier: Apache-2.0
# `make run` starts Selat, `make test` proves it. `make help` lists the rest.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
JS := tests/js
SOURCES := signalling media auth tests

export PATH := $(CURDIR)/$(BIN):$(PATH)
export SELAT_DATA_DIR ?= data
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip --quiet install

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-all pytest check fmt lint types js texts arch wire docs fresh load link island screenshots lock \
        setup setup-test clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# -- use ---------------------------------------------------------------------------------------

run: setup  ## start Selat on https://localhost:8443 with its data in data/
	@exec $(BIN)/selat serve $(ARGS)

setup: $(VENV)/.ready  ## make .venv with what Selat needs to run

setup-test: $(VENV)/.ready-test $(JS)/node_modules/.package-lock.json  ## the same for `make test`
	@.ci/packages test $(PYTHON)

# -- prove -------------------------------------------------------------------------------------

test: setup-test check pytest  ## everything a change must pass

# Real browsers, links and processes are timed, so nothing runs beside them; the rest may share the cores.
ALONE := browser or link or fault or deploy
pytest:
	@$(BIN)/python -m pytest -q -n auto -m "not (slow or load or $(ALONE))" --cov --cov-report= $(ARGS)
	@$(BIN)/python -m pytest -q -m "($(ALONE)) and not (slow or load)" --cov --cov-append --cov-report=term $(ARGS)

test-all: setup-test check  ## the same with the long variants and the load bench
	@$(BIN)/python -m pytest -q -m "not load" --cov --cov-report=term $(ARGS)
	@$(MAKE) --no-print-directory load

load: setup-test  ## measure capacity, beside PeerJS's server and Janus (eight minutes; nothing else should run)
	@$(BIN)/python -m tests.load.broker $(ARGS)
	@$(BIN)/python -m tests.load.relay $(ARGS)
	@$(BIN)/python -m pytest -q -s -m load tests/load

link: setup-test  ## measure calls over thin links, beside PeerJS and Janus (root)
	@$(BIN)/python -m tests.link.compare $(if $(SYSTEMS),--systems "$(SYSTEMS)") $(if $(LINKS),--links "$(LINKS)") \
	  $(if $(SEEDS),--seeds "$(SEEDS)") $(if $(CALL_S),--seconds "$(CALL_S)") $(if $(JSON),--json "$(JSON)") $(ARGS)

island: setup-test  ## feel it: a browser on such a link (root; PROFILE=, without it the list)
	@exec $(BIN)/python -m tests.link.island $(PROFILE)

screenshots: setup-test  ## pictures of every state of every page, into screenshots/
	@for pages in tests/browser/*_screenshots.py; do \
	  $(BIN)/python -m "tests.browser.$$(basename "$$pages" .py)" screenshots || exit 1; done

check: setup-test lint types arch js fresh  ## style, types, imports, generated files

# -- one thing at a time -----------------------------------------------------------------------

fmt: $(VENV)/.ready-test  ## format, and mend what can be mended
	@$(BIN)/ruff check -q --fix $(SOURCES) || true
	@$(BIN)/ruff format -q $(SOURCES)

lint: $(VENV)/.ready-test
	@$(BIN)/ruff check -q $(SOURCES)
	@$(BIN)/ruff format -q --check $(SOURCES)

types: $(VENV)/.ready-test  ## mypy --strict
	@$(BIN)/mypy --no-error-summary signalling media auth

js: $(JS)/node_modules/.package-lock.json  ## types of the JavaScript, and its tests without a browser
	@cd $(JS) && node_modules/.bin/tsc --project . && node --test --test-reporter=dot

texts: $(VENV)/.ready  ## bring the translations up to date with the pages
	@$(BIN)/python -m signalling.web.catalogues

arch: $(VENV)/.ready-test  ## who may import whom
	@$(BIN)/lint-imports --no-logo >$(VENV)/arch.log || { cat $(VENV)/arch.log; exit 1; }

wire: $(VENV)/.ready  ## make what follows from the messages: schema, protocol reference, JavaScript types
	@$(BIN)/python -m signalling.wire.generate

docs: wire  ## make what follows from settings and metrics as well
	@$(BIN)/python -m signalling.reference

fresh: $(VENV)/.ready  ## are the generated files what they would be now?
	@$(BIN)/python -m signalling.wire.generate --check
	@$(BIN)/python -m signalling.reference --check

lock: pyproject.toml  ## pin the dependencies again (needs uv)
	uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-config --no-annotate \
	  --custom-compile-command "make lock" --group build -o requirements.lock pyproject.toml
	uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-config --no-annotate \
	  --custom-compile-command "make lock" --group pyproject.toml:dev -c requirements.lock -o requirements-dev.lock

clean:  ## remove what make and the tools made; data/ stays
	rm -rf $(VENV) $(JS)/node_modules build dist *.egg-info htmlcov .coverage* .hypothesis \
	  .mypy_cache .pytest_cache .ruff_cache .import_linter_cache screenshots
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# -- what the targets stand on -----------------------------------------------------------------

$(BIN)/python:
	@.ci/packages run $(PYTHON)
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what Selat needs"
	@$(PIP) --require-hashes --no-deps -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.ready-test: requirements-dev.lock $(VENV)/.ready
	@echo "Installing what the tests need"
	@$(PIP) --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

$(JS)/node_modules/.package-lock.json: $(JS)/package-lock.json | $(VENV)/.ready-test
	@echo "Installing the type checker for JavaScript"
	@cd $(JS) && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@
